//! Exit statuses of the subcommands of `composefs`, and the message printed for a failure.

use std::process::ExitCode;

use crate::error_text::print_error;

/// Returns the status of a command that performs one action: 0 on success, 1 on failure.
pub(crate) fn exit_status(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error("composefs", &error);
            ExitCode::FAILURE
        }
    }
}

/// Returns the status of a command that may complete only partly: 0 if everything was done, otherwise 1.
pub(crate) fn exit_partial(whole: anyhow::Result<bool>) -> ExitCode {
    match whole {
        Ok(false) => ExitCode::FAILURE,
        whole => exit_status(whole.map(drop)),
    }
}

/// Returns the status of a command that answers a question, as in diff(1) and cmp(1): 0 for yes, 1 for no, 2 on error.
pub(crate) fn exit_answer(answer: anyhow::Result<bool>) -> ExitCode {
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            print_error("composefs", &error);
            ExitCode::from(2)
        }
    }
}
