//! The files with the highest serial numbers that were accepted.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use libcomposefs_store::publish::replace_file;
use libcomposefs_sys::user_namespace::is_in_one;
use libcomposefs_trust::{Floors, NamePattern};
use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use super::open_file;
use super::policy_file::PolicyPlace;

/// The floors of the policy of the machine.
const MACHINE: &str = "/var/lib/composefs/serials.json";
/// Greatest size of a file, in bytes.
const FILE_MAX: u64 = 4 << 20;

/// A file of floors.
pub(crate) struct FloorsFile {
    path: PathBuf,
    /// False for the file of the machine, if this process may not write there: then the floors are only obeyed.
    is_ours: bool,
}

impl FloorsFile {
    pub(super) fn of(place: &PolicyPlace) -> Self {
        match place {
            // Root of a user namespace is another user.
            PolicyPlace::Machine => {
                Self { path: MACHINE.into(), is_ours: geteuid().is_root() && is_in_one() != Some(true) }
            }
            PolicyPlace::User { state, .. } => Self { path: state.join("serials.json"), is_ours: true },
        }
    }

    /// The floors of boots by name on the disk that is mounted at a directory: `composefs-setup-root` obeys them.
    pub(crate) fn of_disk(disk: &Path) -> Self {
        Self { path: disk.join("state/serials.json"), is_ours: true }
    }

    /// Reads the floors. A missing file has no floors. A file that cannot be read is an error: without its floors,
    /// older images would be accepted.
    pub(crate) fn read(&self) -> anyhow::Result<Floors> {
        let failed =
            || format!("cannot read the accepted serial numbers in {}, so nothing is accepted", self.path.display());
        let file = match open_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Floors::default()),
            opened => opened.with_context(failed)?,
        };
        if !file.metadata().with_context(failed)?.is_file() {
            return Err(anyhow::anyhow!("it is no regular file").context(failed()));
        }
        let mut bytes = Vec::new();
        file.take(FILE_MAX).read_to_end(&mut bytes).with_context(failed)?;
        Floors::parse(&bytes).with_context(failed)
    }

    /// Raises the floor of a rule, unless it is higher already.
    pub(crate) fn raise(&self, rule: &NamePattern, serial: u64) -> anyhow::Result<()> {
        if !self.is_ours || serial <= self.read()?.of(rule) {
            return Ok(());
        }
        self.change(|floors| floors.raise(rule, serial))
    }

    /// Sets the floor of a rule, also to a lower number.
    pub(crate) fn set(&self, rule: &NamePattern, serial: u64) -> anyhow::Result<()> {
        if !self.is_ours {
            bail!("{} belongs to root: run the command as root", self.path.display());
        }
        self.change(|floors| {
            floors.lower(rule, serial);
            true
        })
    }

    /// Reads the floors, changes them, and writes them if `change` returns true.
    fn change(&self, change: impl FnOnce(&mut Floors) -> bool) -> anyhow::Result<()> {
        let failed = || format!("cannot write the accepted serial numbers to {}", self.path.display());
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(directory).with_context(failed)?;
        // Two commands at the same time: none may lose what the other has written.
        let lock = File::open(directory).with_context(failed)?;
        flock(&lock, FlockOperation::LockExclusive).with_context(failed)?;
        let mut floors = self.read()?;
        if change(&mut floors) {
            if floors.is_too_long() {
                bail!("{} has no room for another rule: remove rules from it that no policy has", self.path.display());
            }
            let text = floors.to_json();
            let write = |file: &mut File| file.write_all(text.as_bytes()).map_err(anyhow::Error::from);
            replace_file(&self.path, 0o644, write).with_context(failed)?;
        }
        Ok(())
    }
}
