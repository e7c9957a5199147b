//! `composefs remote gc`: removes files of a remote that no ref needs.

use std::process::ExitCode;
use std::time::Duration;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_delivery::{CollectOptions, CollectReport, FileName, Remote, collect};
use serde_json::json;

use super::open::{open, patience};
use super::operand::RemoteOperand;
use super::server_args::ServerArgs;
use crate::commands::repository::{RepositoryArgs, counted, gc::age};
use crate::inspect::size::human;
use crate::interrupt::Interrupt;
use crate::{complete, output};

/// Remove the files of a remote that no ref needs.
///
/// Others may push at the same time: what a push relies on stays, or the push sends it again. Younger files than
/// --grace are kept: choose it longer than a push takes. Nothing is removed if a ref cannot be read.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RemoteGcArgs {
    /// Remote: a name, a URL or a directory
    #[arg(value_name = "REMOTE", add = ArgValueCompleter::new(complete::remotes))]
    remote: RemoteOperand,
    /// Only print what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Keep files that were written within this time: seconds, or a number followed by s, m, h or d
    #[arg(long, value_name = "AGE", default_value = "1d", value_parser = age)]
    grace: Duration,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images remote gc backup --dry-run
  composefs remote gc /mnt/backup/images --grace=0

Exit status: 0 if everything unneeded was removed, 1 if not, 128 plus the signal number if a signal cancelled the
command.";

pub(super) fn run(args: &RemoteGcArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(collect_remote(args, selected, &interrupt))
}

fn collect_remote(args: &RemoteGcArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let store = open(&args.remote, selected, &args.server)?;
    let remote = Remote::new(&*store, patience(interrupt));
    let options = CollectOptions { grace: args.grace, dry_run: args.dry_run, ..CollectOptions::default() };
    let report = collect(&remote, &options)?;
    let CollectReport { refs, removed, removed_bytes, needed, young, .. } = &report;
    if args.json {
        output::json(&json!({
            "refs": refs,
            "removed": removed.iter().map(FileName::path).collect::<Vec<_>>(),
            "removed_bytes": removed_bytes,
            "needed": needed,
            "young": young,
            "dry_run": args.dry_run,
        }));
        return Ok(());
    }
    removed.iter().for_each(|file| out!("{file}"));
    let verb = if args.dry_run { "would be removed" } else { "removed" };
    let (files, bytes) = (counted(removed.len() as u64, "file"), human(*removed_bytes));
    out!("{files}, {bytes}, {verb}; {} needed by {}", counted(*needed, "file"), counted(*refs, "ref"));
    if *young > 0 {
        out!("{} kept by --grace", counted(*young, "file"));
    }
    Ok(())
}
