//! `mkcomposefs`: an image and its objects from a directory or a dump.

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs `mkcomposefs` with the arguments behind its name.
pub(crate) fn run(_args: Vec<OsString>) -> ExitCode {
    eprintln!("mkcomposefs: not built into this program yet");
    ExitCode::FAILURE
}
