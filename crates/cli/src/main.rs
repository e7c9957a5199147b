//! The `composefs` program: one binary that acts as several programs, depending on the name it is called by.
//!
//! As `mkcomposefs`, `composefs-info`, `composefs-dump` and `mount.composefs` it accepts the command lines of the C
//! tools; as `composefs` it has its own subcommands.

#[macro_use]
mod output;

mod c_tool;
mod commands;
mod complete;
mod dump_file;
mod error_text;
mod exit;
mod getopt;
mod image_file;
mod input;
mod inspect;
mod interrupt;
mod json;
mod lost_opaque;
mod operand;
mod rlimits;
mod scan_progress;
mod source_image;
mod timestamp;
mod tree_labels;
mod trust;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_else(|| "composefs".into());
    let name = Path::new(&program).file_name().unwrap_or(&program).to_owned();
    let args: Vec<OsString> = args.collect();
    let (program, status) = match name.to_str() {
        Some("mkcomposefs") => ("mkcomposefs", commands::mkcomposefs::run(args)),
        Some("composefs-info") => ("composefs-info", commands::info::run(args)),
        Some("composefs-dump") => ("composefs-dump", commands::dump::run(args)),
        Some("mount.composefs") => ("mount.composefs", commands::mount_helper::run(args)),
        Some("composefs-fuse") => ("composefs-fuse", commands::fuse::run(args)),
        _ => ("composefs", commands::run(args)),
    };
    output::finish(program, status)
}
