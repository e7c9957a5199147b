//! `composefs-fuse`: reserved name of a program that does not exist yet.

use std::process::ExitCode;

/// Prints that the program does not exist, and what to use instead.
pub(crate) fn run() -> ExitCode {
    tell!(
        "composefs-fuse: this version cannot mount in user space: use mount.composefs or `composefs mount` to mount \
         with the kernel, or `composefs ls`, `composefs cat` and `composefs extract` to read an image without mounting"
    );
    ExitCode::FAILURE
}
