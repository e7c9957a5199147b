//! `composefs-setup-root-by-name`: mounts the composefs image that the kernel command line names, also one by its name.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    composefs_boot::run_program()
}
