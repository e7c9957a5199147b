//! `composefs-fuse`: the name is taken, the command is not there yet.

use std::process::ExitCode;

/// Says so.
pub(crate) fn run() -> ExitCode {
    tell!(
        "composefs-fuse: this version cannot mount in user space: mount by the kernel with mount.composefs or `composefs mount`, \
         or read an image without mounting it with `composefs ls`, `composefs cat` and `composefs extract`"
    );
    ExitCode::FAILURE
}
