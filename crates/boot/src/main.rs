//! `composefs-setup-root`: mounts the composefs image that the kernel command line names as the root of the system.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    composefs_boot::run_program()
}
