//! Early exits of the C-compatible tools: `--help`, `--version` and usage errors.

use std::process::ExitCode;

use crate::getopt::GetoptError;
use crate::{error_text, output};

/// Reason to exit before the tool does its work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EarlyExit {
    /// `--help` was given: print the usage and exit with status 0.
    Help,
    /// `--version` was given: print the version and exit with status 0.
    Version,
    /// The command line is wrong: print the message, and the usage if `usage` is set, and exit with status 1.
    UsageError { message: String, usage: bool },
}

/// Name and help text of a program with a C tool's command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CTool {
    pub(crate) name: &'static str,
    pub(crate) usage: &'static str,
    /// Text that `--help` prints after the usage.
    pub(crate) examples: &'static str,
}

impl CTool {
    /// Prints what an early exit calls for and returns its status.
    pub(crate) fn exit_early(&self, exit: EarlyExit) -> ExitCode {
        match exit {
            EarlyExit::Help => output::block(&format!("{}{}", self.usage, self.examples)),
            EarlyExit::Version => out!("{} (composefs) {}", self.name, env!("CARGO_PKG_VERSION")),
            EarlyExit::UsageError { message, usage } => {
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
    pub(crate) fn exit_status(&self, done: anyhow::Result<()>) -> ExitCode {
        let Err(error) = done else { return ExitCode::SUCCESS };
        error_text::print_error(self.name, &error);
        ExitCode::FAILURE
    }
}

impl From<GetoptError> for EarlyExit {
    fn from(error: GetoptError) -> Self {
        match error {
            GetoptError::Unknown(option) => {
                usage_error_with_usage(format!("unknown or ambiguous option {}", option.display()))
            }
            GetoptError::ValueMissing(name) => usage_error(format!("option needs a value: --{name}")),
        }
    }
}

pub(crate) fn usage_error(message: impl Into<String>) -> EarlyExit {
    EarlyExit::UsageError { message: message.into(), usage: false }
}

pub(crate) fn usage_error_with_usage(message: impl Into<String>) -> EarlyExit {
    EarlyExit::UsageError { message: message.into(), usage: true }
}
