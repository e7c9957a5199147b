//! Running programs and keeping what they said.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// A program that has run.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The command line, for messages.
    pub(crate) command: String,
    /// The exit status; `None` if a signal ended it.
    pub(crate) status: Option<i32>,
    /// The standard output of the command.
    pub(crate) stdout: String,
    /// The standard error of the command.
    pub(crate) stderr: String,
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> Result<Ran> {
    let ran = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&ran.stdout), text(&ran.stderr));
    Ok(Ran { command: format!("{command:?}"), status: ran.status.code(), stdout, stderr })
}

impl Ran {
    /// Fails unless it exited with 0.
    pub(crate) fn success(self) -> Result<Self> {
        self.exited(0)
    }

    /// Fails unless it exited with this status.
    pub(crate) fn exited(self, status: i32) -> Result<Self> {
        let Self { command, status: got, stdout, stderr } = &self;
        ensure!(*got == Some(status), "{command}: status {got:?}, not {status}\nstdout: {stdout}\nstderr: {stderr}");
        Ok(self)
    }

    /// Fails unless its standard error has this text.
    pub(crate) fn says(self, text: &str) -> Result<Self> {
        let Self { command, stdout, stderr, .. } = &self;
        ensure!(stderr.contains(text), "{command}: does not say {text:?}\nstdout: {stdout}\nstderr: {stderr}");
        Ok(self)
    }
}
