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
use crate::steps::{BootStep, steps};
use crate::words::{BootImage, KernelWords, kernel_value};

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
    let plan = BootPlan::new(words, config(&arguments.config)?, arguments.face, is_sealed());
    let disk = BootDisk::open(&arguments.sysroot)?;
    let repository = disk.repository()?;
    let chosen = choose(&plan, &repository, arguments.root_fs.is_some())?;
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
    let steps = steps(&plan, root, &digest, &disk.state(&digest)?, arguments.face)?;
    let target = arguments.target.as_deref().unwrap_or(&arguments.sysroot);
    let init = is_init.then(|| kernel_value(line, "init").unwrap_or("/sbin/init"));
    let mut runner = StepRunner::new(&disk, chosen.found.as_ref(), target, init);
    runner.run(&steps)?;
    let mut notes = plan.notes.clone();
    notes.append(&mut runner.notes);
    notes.extend(chosen.passed_over.iter().map(|word| format!("{word} is not in the repository")));
    if arguments.target.is_none() {
        records::name_the_disk(&disk);
    }
    if let Some(path) = &arguments.root_fs {
        notes.push(format!("the root is the directory {}, of which nothing is verified", path.display()));
        return Ok(BootOutcome { digest: None, notes });
    }
    if let Err(errno) = records::write(&chosen.word, &source, chosen.needs_verity, arguments.target.is_some()) {
        notes.push(format!("no record of the boot in /run/composefs: {errno}"));
    }
    if !chosen.needs_verity {
        notes.push("fs-verity is not required: nothing vouches for the files".into());
    }
    Ok(BootOutcome { digest: Some(digest.to_hex()), notes })
}

/// The image that is booted.
struct Chosen {
    word: BootImage,
    found: Option<FoundImage>,
    needs_verity: bool,
    passed_over: Vec<String>,
}

/// Finds the first image that exists. Any failure but that of a missing link stops the boot.
fn choose(plan: &BootPlan, repository: &BootRepository, has_root: bool) -> Result<Chosen, BootError> {
    let mut passed_over = Vec::new();
    for word in &plan.images {
        if has_root {
            return Ok(Chosen { word: word.clone(), found: None, needs_verity: false, passed_over });
        }
        let needs_verity = BootPlan::needs_verity(word, repository.demands_verity)?;
        let found = repository.image(word, needs_verity)?;
        if found.is_some() {
            return Ok(Chosen { word: word.clone(), found, needs_verity, passed_over });
        }
        passed_over.push(word.word.clone());
    }
    Err(BootError::NoImage { words: passed_over, present: repository.some_images() })
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
