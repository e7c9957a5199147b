//! Commands that go on with the others when one of several things cannot be done.

use std::process::ExitCode;

use crate::{error_text, output};

/// What has gone wrong so far. Each failure is told when it happens.
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    any: bool,
}

impl Complaints {
    /// Tells of a failure.
    pub(crate) fn add(&mut self, error: &anyhow::Error) {
        self.any = true;
        error_text::tell("composefs", error);
    }

    /// Whether nothing has gone wrong.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        !self.any
    }

    /// Goes on behind a failure, unless nothing can be printed any more.
    pub(crate) fn pass(&mut self, done: anyhow::Result<()>) -> anyhow::Result<()> {
        match done {
            Err(error) if !output::is_unwritable(&error) => {
                self.add(&error);
                Ok(())
            }
            done => done,
        }
    }

    /// The status of the command: 0 if all was done.
    pub(crate) fn status(mut self, done: anyhow::Result<()>) -> ExitCode {
        match done {
            Ok(()) if !self.any => ExitCode::SUCCESS,
            Ok(()) => ExitCode::FAILURE,
            Err(error) => {
                self.add(&error);
                ExitCode::FAILURE
            }
        }
    }
}
