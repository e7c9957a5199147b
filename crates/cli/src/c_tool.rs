//! Early exits of the C-compatible tools: `--help`, `--version` and usage errors.

use std::process::ExitCode;

use crate::getopt::Refusal;
use crate::{error_text, output};

/// Reason to exit before the tool does its work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// `--help` was given: print the usage and exit with status 0.
    Help,
    /// `--version` was given: print the version and exit with status 0.
    Version,
    /// The command line is wrong: print the message, and the usage if `usage` is set, and exit with status 1.
    Wrong { message: String, usage: bool },
}

/// Name and help text of a program with a C tool's command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Face {
    pub(crate) name: &'static str,
    pub(crate) usage: &'static str,
    /// Text that `--help` prints after the usage.
    pub(crate) examples: &'static str,
}

impl Face {
    /// Prints what an early exit calls for and returns its status.
    pub(crate) fn stop(&self, stop: Stop) -> ExitCode {
        match stop {
            Stop::Help => output::block(&format!("{}{}", self.usage, self.examples)),
            Stop::Version => out!("{} (composefs) {}", self.name, env!("CARGO_PKG_VERSION")),
            Stop::Wrong { message, usage } => {
                tell!("{}: {message}", self.name);
                if usage {
                    output::tell_block(self.usage);
                }
                return ExitCode::FAILURE;
            }
        }
        ExitCode::SUCCESS
    }

    /// Prints the error, if any, and returns the exit status.
    pub(crate) fn end(&self, done: anyhow::Result<()>) -> ExitCode {
        let Err(error) = done else { return ExitCode::SUCCESS };
        error_text::tell(self.name, &error);
        ExitCode::FAILURE
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown(option) => wrong_with_usage(format!("unknown or ambiguous option {}", option.display())),
            Refusal::ValueMissing(name) => wrong(format!("option needs a value: --{name}")),
        }
    }
}

pub(crate) fn wrong(message: impl Into<String>) -> Stop {
    Stop::Wrong { message: message.into(), usage: false }
}

pub(crate) fn wrong_with_usage(message: impl Into<String>) -> Stop {
    Stop::Wrong { message: message.into(), usage: true }
}
