//! Setting up the root: the command line and the configuration, then the image, then the steps.

use std::io::Read as _;
use std::path::Path;

use rustix::io::Errno;

use crate::arguments::BootArguments;
use crate::config::{BootConfig, CONFIG_MAX};
use crate::disk::{BootDisk, BootRepository, FoundImage, errno};
use crate::error::BootError;
use crate::plan::BootPlan;
use crate::records;
use crate::run::StepRunner;
use crate::signed_by::SignedBy;
use crate::steps::{BootStep, steps};
use crate::words::{BootImage, KernelWords, WordError, kernel_value};

/// Result of a boot that was not refused.
#[derive(Debug)]
pub struct BootOutcome {
    /// Digest of the booted image in hex; `None` if the command line asks for ostree alone, or if the root is a
    /// directory.
    pub digest: Option<String>,
    /// Notes for the console.
    pub notes: Vec<String>,
}

/// Sets up the root as the options and the kernel command line say.
///
/// # Errors
///
/// Every [`BootError`]; nothing stays mounted then.
pub fn set_up(arguments: &BootArguments, line: &str, is_init: bool) -> Result<BootOutcome, BootError> {
    if KernelWords::is_of_ostree(line) {
        return Ok(BootOutcome { digest: None, notes: vec!["nothing to do: the command line asks for ostree".into()] });
    }
    let words = KernelWords::parse(line)?;
    let is_sealed = is_sealed();
    let plan = BootPlan::new(words, config(&arguments.config)?, arguments.face, is_sealed);
    let disk = BootDisk::open(&arguments.sysroot)?;
    let repository = disk.repository()?;
    let init = is_init.then(|| kernel_value(line, "init").unwrap_or("/sbin/init"));
    let boot = PlannedBoot { arguments, plan: &plan, disk: &disk, repository: &repository, init };
    match &plan.name {
        None => boot.run(boot.first_that_exists()?),
        Some(name) => boot.newest(name, is_sealed),
    }
}

/// A boot of one of several images.
struct PlannedBoot<'b> {
    arguments: &'b BootArguments,
    plan: &'b BootPlan,
    disk: &'b BootDisk,
    repository: &'b BootRepository,
    init: Option<&'b str>,
}

/// The image that is booted.
struct Chosen {
    word: BootImage,
    found: Option<FoundImage>,
    needs_verity: bool,
    /// The statement by which the image was found; `None` if the command line has its digest.
    signed: Option<SignedBy>,
    notes: Vec<String>,
}

impl PlannedBoot<'_> {
    /// Finds the first image that exists. Any failure but that of a missing link stops the boot.
    fn first_that_exists(&self) -> Result<Chosen, BootError> {
        let (mut notes, mut passed_over) = (Vec::new(), Vec::new());
        for word in &self.plan.images {
            let chosen =
                |found, needs_verity, notes| Chosen { word: word.clone(), found, needs_verity, signed: None, notes };
            if self.arguments.root_fs.is_some() {
                return Ok(chosen(None, false, notes));
            }
            let needs_verity = BootPlan::needs_verity(word, self.repository.demands_verity)?;
            let found = self.repository.image(word, needs_verity)?;
            if found.is_some() {
                return Ok(chosen(found, needs_verity, notes));
            }
            notes.push(format!("{} is not in the repository", word.word));
            passed_over.push(word.word.clone());
        }
        Err(BootError::NoImage { words: passed_over, present: self.repository.some_images() })
    }

    #[cfg(not(feature = "name"))]
    fn newest(&self, name: &str, _is_sealed: bool) -> Result<BootOutcome, BootError> {
        Err(WordError::NoNames { name: name.to_owned() }.into())
    }

    /// Boots the newest image of a name, or an older one if the newest one cannot be mounted. Both are at or above the
    /// floor, so nothing is weaker than without the newest one on the disk.
    #[cfg(feature = "name")]
    fn newest(&self, name: &str, is_sealed: bool) -> Result<BootOutcome, BootError> {
        let policy = self.arguments.policy.as_deref();
        let candidates = crate::by_name::candidates(name, policy, self.disk, self.repository)?;
        let (mut notes, mut refused) = (Vec::new(), None);
        if !is_sealed {
            notes.push("Secure Boot is off: nothing vouches for the policy in the initramfs".to_owned());
        }
        for candidate in candidates {
            let (digest, serial) = (candidate.digest, candidate.signed.serial);
            let word = BootImage { digest, is_verity_optional: false, word: format!("composefs.name={name}") };
            let (keys, mut notes_here) = (candidate.signed.keys.join(", "), notes.clone());
            notes_here.push(format!("{name}: serial number {serial}, signed by {keys}"));
            if candidate.is_expired {
                notes_here.push("the statement about the image has expired: install a newer image".to_owned());
            }
            let signed = Some(candidate.signed);
            let booted = self
                .repository
                .image(&word, true)
                .and_then(|found| self.run(Chosen { word, found, needs_verity: true, signed, notes: notes_here }));
            match booted {
                Ok(outcome) => return Ok(outcome),
                Err(error) => {
                    notes.push(format!("serial number {serial} is not booted: {error}"));
                    refused.get_or_insert(error);
                }
            }
        }
        // There was at least one.
        Err(refused.unwrap_or(WordError::NoImage.into()))
    }

    /// Mounts the image and what is in it.
    fn run(&self, chosen: Chosen) -> Result<BootOutcome, BootError> {
        let (plan, arguments) = (self.plan, self.arguments);
        let source = plan.source(&chosen.word);
        let root = match &arguments.root_fs {
            Some(path) => BootStep::CloneRoot { path: path.clone() },
            None => BootStep::MountRoot {
                source: source.clone(),
                needs_verity: chosen.needs_verity,
                is_transient: plan.root_transient,
                is_read_only: plan.is_read_only,
            },
        };
        let digest = chosen.word.digest;
        let steps = steps(plan, root, &digest, &self.disk.state(&digest)?, arguments.face)?;
        let target = arguments.target.as_deref().unwrap_or(&arguments.sysroot);
        let mut runner = StepRunner::new(self.disk, chosen.found.as_ref(), target, self.init);
        runner.run(&steps)?;
        let mut notes = plan.notes.clone();
        notes.append(&mut runner.notes);
        notes.extend(chosen.notes);
        if arguments.target.is_none() {
            records::name_the_disk(self.disk);
        }
        if let Some(path) = &arguments.root_fs {
            notes.push(format!("the root is the directory {}, of which nothing is verified", path.display()));
            return Ok(BootOutcome { digest: None, notes });
        }
        let (signed, is_next) = (chosen.signed.as_ref(), arguments.target.is_some());
        if let Err(errno) = records::write(&chosen.word, &source, chosen.needs_verity, signed, is_next) {
            notes.push(format!("no record of the boot in /run/composefs: {errno}"));
        }
        if !chosen.needs_verity {
            notes.push("fs-verity is not required: nothing vouches for the files".into());
        }
        Ok(BootOutcome { digest: Some(digest.to_hex()), notes })
    }
}

/// Reads the configuration. A missing file means the defaults.
fn config(path: &Path) -> Result<BootConfig, BootError> {
    if path.as_os_str().is_empty() {
        return Ok(BootConfig::default());
    }
    let io = |errno| BootError::Io { doing: format!("reading {}", path.display()), errno };
    let file = match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BootConfig::default()),
        file => file.map_err(|error| io(errno(&error)))?,
    };
    let mut text = String::new();
    match file.take(CONFIG_MAX + 1).read_to_string(&mut text) {
        Ok(len) if len as u64 > CONFIG_MAX => return Err(io(Errno::FBIG)),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Err(io(Errno::ILSEQ)),
        Err(error) => return Err(io(errno(&error))),
    }
    BootConfig::parse(&text).map_err(|source| BootError::Config { path: path.to_owned(), source })
}

/// Returns true if the firmware protects the command line: with Secure Boot on, systemd-stub takes only that of the
/// signed file. If it cannot be found out on a machine with UEFI, it counts as protected.
fn is_sealed() -> bool {
    let firmware = Path::new("/sys/firmware/efi");
    let variable = firmware.join("efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    firmware.exists() && !is_off(&std::fs::read(variable).unwrap_or_default())
}

/// Four bytes of attributes, then the value.
fn is_off(variable: &[u8]) -> bool {
    matches!(variable, [_, _, _, _, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_variable_that_says_so_is_off() {
        assert!(is_off(&[6, 0, 0, 0, 0]));
        for on in [&[6, 0, 0, 0, 1][..], &[], &[0], &[6, 0, 0, 0, 0, 0]] {
            assert!(!is_off(on));
        }
    }

    #[test]
    fn a_wrong_configuration_stops_the_boot_and_a_missing_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("conf");
        assert_eq!(config(&file).unwrap(), BootConfig::default());
        assert_eq!(config(Path::new("")).unwrap(), BootConfig::default());
        for text in [&b"[etc"[..], b"\xff\xfe", &vec![b'#'; 70_000]] {
            std::fs::write(&file, text).unwrap();
            assert!(config(&file).is_err());
        }
        assert!(config(dir.path()).is_err());
        std::fs::write(&file, "[etc]\nmount = \"none\"\n").unwrap();
        assert!(config(&file).unwrap().etc.is_some());
    }
}
