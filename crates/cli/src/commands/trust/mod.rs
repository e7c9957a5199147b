//! `composefs trust`: what the policies say.

mod allow_older;
mod check;
mod import_policy;
mod show;

use std::process::ExitCode;

use crate::commands::repository::RepositoryArgs;
use crate::exit::exit_status;

/// Show and check which images are trusted.
///
/// A policy says which keys must have signed the images of a name. The policy of the machine is
/// /etc/composefs/policy.toml, or /usr/lib/composefs/policy.toml if that does not exist; a user can narrow it in
/// ~/.config/composefs/policy.toml. Without a policy nothing is demanded. With one, `mount`, `run`, `tag`,
/// `import`, `sync` and `pull` refuse what it refuses, and so do `oci pull`, `oci tag`, `oci mount` and `oci run`.
#[derive(clap::Args)]
pub(super) struct TrustArgs {
    #[command(subcommand)]
    command: TrustCommand,
}

#[derive(clap::Subcommand)]
enum TrustCommand {
    AllowOlder(allow_older::AllowOlderArgs),
    Check(check::CheckTrustArgs),
    ImportPolicy(import_policy::ImportPolicyArgs),
    Show(show::ShowArgs),
}

pub(super) fn run(args: &TrustArgs, selected: &RepositoryArgs) -> ExitCode {
    match &args.command {
        TrustCommand::AllowOlder(args) => exit_status(allow_older::run(args)),
        TrustCommand::Check(args) => check::run(args, selected),
        TrustCommand::ImportPolicy(args) => exit_status(import_policy::run(args)),
        TrustCommand::Show(args) => exit_status(show::run(args)),
    }
}
