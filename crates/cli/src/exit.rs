//! How the subcommands of `composefs` end: their statuses, and what is said of a failure.

use std::process::ExitCode;

use crate::error_text::tell;

/// A command that does something: 0 if it was done, 1 if not.
pub(crate) fn done(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell("composefs", &error);
            ExitCode::FAILURE
        }
    }
}

/// A command that may do a part of what was asked: 0 if it did all.
pub(crate) fn whole(whole: anyhow::Result<bool>) -> ExitCode {
    match whole {
        Ok(false) => ExitCode::FAILURE,
        whole => done(whole.map(drop)),
    }
}

/// A command that answers a question, as diff(1) and cmp(1) do: 0 for yes, 1 for no, 2 if it could not be found out.
pub(crate) fn answered(answer: anyhow::Result<bool>) -> ExitCode {
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell("composefs", &error);
            ExitCode::from(2)
        }
    }
}
