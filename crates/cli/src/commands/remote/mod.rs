//! `composefs remote`, `push`, `pull` and `plan`: images in directories, on servers and in registries.

mod add;
mod ahead;
pub(super) mod fill;
mod gc;
mod lazy;
mod lazy_place;
mod list;
#[cfg(feature = "network")]
mod network;
mod open;
mod operand;
pub(super) mod plan;
mod progress;
pub(super) mod pull;
pub(super) mod push;
mod remove;
#[cfg(feature = "network")]
mod serve;
mod server_args;
pub(super) mod status;
mod trace_file;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use libcomposefs_sys::tempfile::Temporary;

pub(super) use self::ahead::{CONNECTIONS, FetchAhead, FillPace};
pub(super) use self::lazy::{LazySupply, status_text};
pub(super) use self::lazy_place::{LazyPlace, LazyRestarts};
pub(super) use self::open::open as open_remote;
pub(super) use self::operand::RemoteOperand;
pub(super) use self::progress::TransferDisplay;
pub(super) use self::pull::admit;
pub(super) use self::server_args::ServerArgs;
pub(super) use self::trace_file::read_trace;
use super::repository::{RepositoryArgs, WithRepository};
use crate::exit::exit_status;

/// Manage remotes: directories and servers that have images with their objects.
///
/// A remote is written as a directory, with `/` or `./`, as a URL, or by the name that `composefs remote add` gave it.
/// Images go there by `composefs push`, and come from there by `composefs pull`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RemoteArgs {
    #[command(subcommand)]
    command: RemoteCommand,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images remote add backup /mnt/backup/images
  composefs --repo=/srv/images push debian/13 backup
  composefs --repo=/srv/images remote list
  composefs --repo=/srv/images remote gc backup --dry-run";

#[derive(Subcommand)]
enum RemoteCommand {
    Add(WithRepository<add::RemoteAddArgs>),
    Gc(WithRepository<gc::RemoteGcArgs>),
    List(WithRepository<list::RemoteListArgs>),
    Remove(WithRepository<remove::RemoteRemoveArgs>),
    #[cfg(feature = "network")]
    Serve(serve::RemoteServeArgs),
}

pub(crate) fn run(args: &RemoteArgs, selected: &RepositoryArgs) -> ExitCode {
    match &args.command {
        RemoteCommand::Add(args) => exit_status(args.run(selected, add::run)),
        RemoteCommand::Gc(args) => args.run(selected, gc::run),
        RemoteCommand::List(args) => exit_status(args.run(selected, list::run)),
        RemoteCommand::Remove(args) => exit_status(args.run(selected, remove::run)),
        #[cfg(feature = "network")]
        RemoteCommand::Serve(args) => exit_status(serve::run(args)),
    }
}

/// Makes a file without a name in the directory for temporary files.
pub(super) fn make_file() -> io::Result<File> {
    let directory = Arc::new(OwnedFd::from(File::open(std::env::temp_dir())?));
    let file = Temporary::create(&directory, 0o600)?;
    Ok(File::from(file.as_fd().try_clone_to_owned()?))
}
