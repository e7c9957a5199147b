//! The subcommands of `composefs`, and the programs that go by another name.

mod diff;
mod digest;
pub(crate) mod dump;
mod explain_digest;
pub(crate) mod info;
pub(crate) mod mkcomposefs;
mod mount;
pub(crate) mod mount_helper;
mod umount;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, verify and mount file system images whose file contents live once, in an object store.
#[derive(Parser)]
#[command(name = "composefs", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Composefs {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  composefs diff old.img new.img
  composefs digest rootfs.img
  composefs explain-digest rootfs/ --want=029cc8af231b4d76c3618cc37232dc590a33379e838d927f542e18455ca5e655
  composefs mount rootfs.img /mnt -o basedir=objects,verity_check=2
  composefs umount /mnt

Exit status: 0 if it was done, 1 if not, 2 for a command line that is wrong; diff and
explain-digest have their own. Called as mkcomposefs,
composefs-info, composefs-dump or mount.composefs it is those programs, with status 1 for every failure.";

#[derive(Subcommand)]
enum Command {
    Diff(diff::Args),
    Digest(digest::Args),
    ExplainDigest(explain_digest::Args),
    Mount(mount::Args),
    Umount(umount::Args),
}

/// Runs `composefs` with the arguments behind its name.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    let command = Composefs::parse_from(std::iter::once("composefs".into()).chain(args)).command;
    match command {
        Command::Diff(args) => diff::run(args),
        Command::Digest(args) => done(digest::run(&args)),
        Command::ExplainDigest(args) => explain_digest::run(&args),
        Command::Mount(args) => done(mount::run(args)),
        Command::Umount(args) => done(umount::run(&args)),
    }
}

/// The status of a command that does something: 0 if it was done, 1 if not.
fn done(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("composefs: {error:#}");
            ExitCode::FAILURE
        }
    }
}
