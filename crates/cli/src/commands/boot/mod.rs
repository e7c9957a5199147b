//! `composefs boot`: the entries of the boot loader, and the images that they start.

mod bless;
mod booted;
mod check;
mod esp;
mod found;
mod image_files;
mod install;
mod install_plan;
mod kernel;
mod list;
mod objects;
mod place;
mod publish;
mod remove;
mod report;
mod rollback;
mod state;
mod status;

use std::process::ExitCode;

use super::repository::RepositoryArgs;
use crate::exit::{exit_partial, exit_status};

/// Make images bootable on this system, and choose which one is started.
///
/// The commands write entries that systemd-boot and other boot loaders read (Boot Loader Specification, Type 1) to the
/// mounted EFI system partition. The newest entry is started, unless its attempts are used up or another entry is
/// chosen. Entries of other programs are shown and never changed.
#[derive(clap::Args)]
pub(super) struct BootArgs {
    #[command(subcommand)]
    command: BootCommand,
}

#[derive(clap::Subcommand)]
enum BootCommand {
    Bless(bless::BlessArgs),
    Check(check::CheckBootArgs),
    Install(Box<install::InstallArgs>),
    List(list::ListEntriesArgs),
    Remove(remove::RemoveEntryArgs),
    Rollback(rollback::RollbackArgs),
    Status(status::BootStatusArgs),
}

pub(super) fn run(args: &BootArgs, selected: &RepositoryArgs) -> ExitCode {
    match &args.command {
        BootCommand::Bless(args) => exit_status(bless::run(args)),
        BootCommand::Check(args) => exit_partial(check::run(args, selected)),
        BootCommand::Install(args) => install::run(args, selected),
        BootCommand::List(args) => exit_status(list::run(args, selected)),
        BootCommand::Remove(args) => exit_status(remove::run(args, selected)),
        BootCommand::Rollback(args) => exit_status(rollback::run(args, selected)),
        BootCommand::Status(args) => exit_status(status::run(args, selected)),
    }
}
