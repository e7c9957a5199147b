//! Error collector of commands that continue with their other arguments after a failure.

use std::process::ExitCode;

use crate::{error_text, output};

/// Records whether any step failed. Each failure is printed when it happens.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    any: bool,
}

impl Failures {
    /// Prints a failure and records it.
    pub(crate) fn add(&mut self, error: &anyhow::Error) {
        self.any = true;
        error_text::print_error("composefs", error);
    }

    /// Returns true if nothing has failed.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        !self.any
    }

    /// Records a failure so that the command can continue. Returns it only if standard output can no longer be written.
    pub(crate) fn pass(&mut self, done: anyhow::Result<()>) -> anyhow::Result<()> {
        match done {
            Err(error) if !output::is_unwritable(&error) => {
                self.add(&error);
                Ok(())
            }
            done => done,
        }
    }

    /// Returns the exit status of the command: 0 if everything was done, otherwise 1.
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
