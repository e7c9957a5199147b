//! Running a program and keeping all that it says.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The output and the exit status of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit status; `None` if a signal ended it.
    pub status: Option<i32>,
    /// The standard output of the program.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
}

impl Outcome {
    /// Standard output as text without its last newline.
    ///
    /// # Panics
    ///
    /// If it is no text.
    #[must_use]
    pub fn line(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text on standard output").trim_end_matches('\n')
    }

    /// Itself, if the program succeeded.
    ///
    /// # Panics
    ///
    /// If it did not.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.status, Some(0), "{}", self.stderr);
        self
    }
}

/// A program by its path, under the name it is to find itself called by.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// The path of the program's file.
    pub path: &'a Path,
    /// The name of the program, `argv[0]`.
    pub name: &'a str,
}

impl Program<'_> {
    /// Runs it with `input` on standard input.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>, input: &[u8]) -> Outcome {
        let mut child = Command::new(self.path)
            .arg0(self.name)
            .args(arguments)
            .env_remove("CFS_PARSE_STRICT")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.path.display()));
        let mut stdin = child.stdin.take().expect("piped");
        let output = std::thread::scope(|scope| {
            // A program that fails early does not read all of it.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().expect("wait")
        });
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Outcome { status: output.status.code(), stdout: output.stdout, stderr }
    }
}
