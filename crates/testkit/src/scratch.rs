//! A scratch directory with a repository, in which the program is run.

use std::path::{Path, PathBuf};

use crate::oci;
use crate::program::{Outcome, Program};

/// Free space from which a file system in memory has room for a test, in bytes.
const ROOM: u64 = 4 << 30;

/// Makes a temporary directory, in memory if there is room: for tests with thousands of syncs that prove nothing about
/// syncs.
///
/// # Panics
///
/// If it cannot be made.
#[must_use]
pub fn directory_in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let has_room = rustix::fs::statvfs(memory).is_ok_and(|stat| stat.f_bavail * stat.f_frsize >= ROOM);
    let made = if has_room { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.expect("a directory")
}

/// A directory with an empty repository `repo`.
#[derive(Debug)]
pub struct ScratchRepository {
    dir: tempfile::TempDir,
    program: &'static str,
}

impl ScratchRepository {
    /// Makes the repository with the program `composefs` at a path.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    #[must_use]
    pub fn new(program: &'static str) -> Self {
        let scratch = Self { dir: tempfile::tempdir().expect("a directory"), program };
        scratch.prints(&["init", "--insecure", "--format=1"]);
        scratch
    }

    /// Returns the path of a file in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Unpacks a recorded layout, and returns its directory.
    #[must_use]
    pub fn layout(&self, name: &str) -> PathBuf {
        oci::unpack_layout(name, self.dir.path())
    }

    /// Runs a command in the repository.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        let option = format!("--repo={}", self.path("repo").display());
        let program = Program { path: Path::new(self.program), name: "composefs" };
        program.run([&[option.as_str()], arguments].concat(), b"")
    }

    /// Returns what a command prints that succeeds.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[track_caller]
    pub fn prints(&self, arguments: &[&str]) -> String {
        self.prints_with(0, arguments)
    }

    /// Returns what a command prints that ends with a status.
    ///
    /// # Panics
    ///
    /// If the status is another one.
    #[track_caller]
    pub fn prints_with(&self, status: i32, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.status, Some(status), "{arguments:?}: {outcome:?}");
        String::from_utf8(outcome.stdout).expect("text")
    }

    /// Returns the messages of a command that ends with a status.
    ///
    /// # Panics
    ///
    /// If the status is another one.
    #[track_caller]
    pub fn fails(&self, status: i32, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!(outcome.status, Some(status), "{arguments:?}: {outcome:?}");
        outcome.stderr
    }
}

/// Returns the operand of a layout in a directory.
#[must_use]
pub fn layout_source(directory: &Path) -> String {
    format!("oci:{}", directory.display())
}
