//! Command lines of the C tools: what there is to do instead of what was asked.

use std::process::ExitCode;

use crate::getopt::Refusal;
use crate::{error_text, output};

/// What to do instead of working.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// A mistake: its message, and whether the usage is shown too.
    Wrong { message: String, usage: bool },
}

/// What a program that goes by a name of the C tools says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Face {
    pub(crate) name: &'static str,
    pub(crate) usage: &'static str,
    /// What `--help` adds to the usage.
    pub(crate) examples: &'static str,
}

impl Face {
    /// Does what a [`Stop`] asks for.
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

    /// Tells how the work ended.
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
