//! The subcommands of `composefs`, and the programs with other names.

mod boot;
mod bootable_args;
mod cat;
mod check;
mod completion;
#[cfg(test)]
mod damaged;
mod derive;
mod diff;
mod digest;
mod disk;
mod doctor;
mod du;
pub(crate) mod dump;
mod explain_digest;
mod extract;
mod find;
pub(crate) mod fuse;
mod groups;
pub(crate) mod info;
mod ipe_policy;
mod ls;
mod man_pages;
pub(crate) mod mkcomposefs;
pub(crate) mod mount;
pub(crate) mod mount_helper;
pub(crate) mod oci;
mod ostree;
mod prove;
mod remote;
pub(crate) mod repository;
mod run;
mod seal;
mod serve_objects;
mod sign;
mod stat;
mod trust;
mod umount;
mod verity_warning;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use self::repository::{RepositoryArgs, WithNames, WithRepository, WithSources};
use crate::exit::{exit_partial, exit_status};
use crate::{complete, output};

/// Build, verify and mount file system images whose file contents live once, in an object store.
#[derive(Parser)]
#[command(name = "composefs", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Composefs {
    #[command(flatten)]
    repository: RepositoryArgs,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images create rootfs/ --name=debian/13
  composefs --repo=/srv/images mount debian/13 /mnt
  composefs diff old.img new.img
  composefs digest rootfs.img
  composefs explain-digest rootfs/ --want=029cc8af231b4d76c3618cc37232dc590a33379e838d927f542e18455ca5e655
  composefs check rootfs.img --basedir=objects
  composefs extract rootfs.img rootfs --basedir=objects
  composefs mount rootfs.img /mnt -o basedir=objects,verity_check=2
  composefs umount /mnt
  composefs ls -l rootfs.img /usr
  composefs cat --basedir=objects rootfs.img /etc/passwd

Exit status: 0 on success, 1 on failure or if the output cannot be written, 2 for a usage error; commands with other
statuses describe them in their --help. Called as mkcomposefs, composefs-info, composefs-dump, composefs-fuse or
mount.composefs, the program behaves as that tool, with status 1 for every failure.";

#[derive(Subcommand)]
enum Command {
    Boot(WithNames<boot::BootArgs>),
    Cat(WithSources<cat::CatArgs>),
    Check(WithSources<check::CheckArgs>),
    Completion(completion::CompletionArgs),
    Create(WithRepository<repository::create::CreateArgs>),
    Df(WithRepository<repository::df::DfArgs>),
    Derive(Box<WithNames<derive::DeriveArgs>>),
    Diff(Box<WithSources<diff::DiffArgs>>),
    Digest(WithSources<digest::DigestArgs>),
    Disk(WithNames<disk::DiskArgs>),
    Doctor(WithRepository<doctor::DoctorArgs>),
    Du(WithSources<du::DuArgs>),
    ExplainDigest(WithSources<explain_digest::ExplainDigestArgs>),
    Export(WithNames<repository::export::ExportArgs>),
    Extract(WithSources<extract::ExtractArgs>),
    Fill(remote::fill::FillArgs),
    Find(Box<WithSources<find::FindArgs>>),
    Fsck(WithRepository<repository::fsck::FsckArgs>),
    Gc(WithRepository<repository::gc::GcArgs>),
    Images(WithRepository<repository::images::ImagesArgs>),
    Import(WithRepository<repository::import::ImportArgs>),
    Init(WithRepository<repository::init::InitArgs>),
    IpePolicy(WithSources<ipe_policy::IpePolicyArgs>),
    Ls(WithSources<ls::LsArgs>),
    #[command(hide = true)]
    ManPages(man_pages::ManPagesArgs),
    Mount(Box<WithNames<mount::MountArgs>>),
    Mounts(WithRepository<repository::mounts::MountsArgs>),
    Oci(WithRepository<oci::OciArgs>),
    Ostree(WithRepository<ostree::OstreeArgs>),
    Plan(WithRepository<remote::plan::PlanArgs>),
    Prove(WithNames<prove::ProveArgs>),
    Pull(WithRepository<remote::pull::PullArgs>),
    Push(WithNames<remote::push::PushArgs>),
    Remote(remote::RemoteArgs),
    Repack(WithRepository<repository::repack::RepackArgs>),
    Run(WithNames<run::PlainRunArgs>),
    Seal(seal::SealArgs),
    ServeObjects(serve_objects::ServeObjectsArgs),
    Sign(WithNames<sign::SignArgs>),
    Stat(WithSources<stat::StatArgs>),
    Status(remote::status::StatusArgs),
    Sync(WithRepository<repository::sync::SyncArgs>),
    Tag(WithNames<repository::tag::TagArgs>),
    Trace(WithNames<run::trace::TraceArgs>),
    Trust(WithRepository<trust::TrustArgs>),
    Umount(umount::UmountArgs),
    Untag(WithRepository<repository::untag::UntagArgs>),
    Why(WithNames<repository::why::WhyArgs>),
}

/// Returns the command line of `composefs` as clap has it.
fn command() -> clap::Command {
    groups::with_grouped_help(Composefs::command())
}

/// Runs `composefs` with the arguments after the program's name.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    if let Some(status) = complete::answer(command()) {
        return status;
    }
    let line = std::iter::once("composefs".into()).chain(args);
    let Composefs { repository: before, command } = match output::parse(command(), line) {
        Ok(parsed) => parsed,
        Err(status) => return status,
    };
    match command {
        Command::Boot(args) => args.run(&before, boot::run),
        Command::Cat(args) => args.run(&before, cat::run),
        Command::Check(args) => args.run(&before, check::run),
        Command::Completion(args) => exit_status(completion::run(&args, self::command())),
        Command::Create(args) => args.run(&before, repository::create::run),
        Command::Df(args) => exit_status(args.run(&before, repository::df::run)),
        Command::Derive(args) => args.run(&before, derive::run),
        Command::Diff(args) => args.run(&before, diff::run),
        Command::Digest(args) => exit_status(args.run(&before, digest::run)),
        Command::Disk(args) => args.run(&before, disk::run),
        Command::Doctor(args) => args.run(&before, doctor::run),
        Command::Du(args) => args.run(&before, du::run),
        Command::ExplainDigest(args) => args.run(&before, explain_digest::run),
        Command::Export(args) => exit_status(args.run(&before, repository::export::run)),
        Command::Extract(args) => exit_partial(args.run(&before, extract::run)),
        Command::Fill(args) => remote::fill::run(&args),
        Command::Find(args) => args.run(&before, find::run),
        Command::Fsck(args) => args.run(&before, repository::fsck::run),
        Command::Gc(args) => args.run(&before, repository::gc::run),
        Command::Images(args) => args.run(&before, repository::images::run),
        Command::Import(args) => args.run(&before, repository::import::run),
        Command::Init(args) => exit_status(args.run(&before, repository::init::run)),
        Command::IpePolicy(args) => exit_status(args.run(&before, ipe_policy::run)),
        Command::Ls(args) => args.run(&before, ls::run),
        Command::ManPages(args) => exit_status(man_pages::run(&args, self::command())),
        Command::Mount(args) => exit_status(args.run(&before, mount::run)),
        Command::Mounts(args) => exit_status(args.run(&before, repository::mounts::run)),
        Command::Oci(args) => args.run(&before, oci::run),
        Command::Ostree(args) => args.run(&before, ostree::run),
        Command::Plan(args) => args.run(&before, remote::plan::run),
        Command::Prove(args) => args.run(&before, prove::run),
        Command::Pull(args) => args.run(&before, remote::pull::run),
        Command::Push(args) => args.run(&before, remote::push::run),
        Command::Remote(args) => remote::run(&args, &before),
        Command::Repack(args) => args.run(&before, repository::repack::run),
        Command::Run(args) => args.run(&before, run::run),
        Command::Trace(args) => args.run(&before, run::trace::run),
        Command::Seal(args) => seal::run(&args),
        Command::ServeObjects(args) => exit_status(serve_objects::run(&args)),
        Command::Sign(args) => exit_status(args.run(&before, sign::run)),
        Command::Stat(args) => args.run(&before, stat::run),
        Command::Status(args) => exit_status(remote::status::run(&args)),
        Command::Sync(args) => args.run(&before, repository::sync::run),
        Command::Tag(args) => exit_status(args.run(&before, repository::tag::run)),
        Command::Trust(args) => args.run(&before, trust::run),
        Command::Umount(args) => exit_status(umount::run(&args)),
        Command::Untag(args) => exit_status(args.run(&before, repository::untag::run)),
        Command::Why(args) => args.run(&before, repository::why::run),
    }
}

#[cfg(test)]
#[path = "../../tests/cli_output/table.rs"]
#[allow(dead_code)]
mod output_table;

#[cfg(test)]
mod tests {
    use super::*;

    /// Collects the full names of all commands without subcommands.
    fn leaves(command: &clap::Command, above: &str, names: &mut Vec<String>) {
        for below in command.get_subcommands() {
            let name = format!("{above}{}", below.get_name());
            if below.has_subcommands() { leaves(below, &format!("{name} "), names) } else { names.push(name) }
        }
    }

    #[test]
    fn tests_of_output_run_every_command() {
        let mut names = vec![String::new()];
        names.extend(
            ["mkcomposefs", "composefs-info", "composefs-dump", "composefs-fuse", "mount.composefs"].map(str::to_owned),
        );
        leaves(&command(), "", &mut names);
        let tested = |name: &String| output_table::ROWS.iter().any(|row| row.command == name);
        let forgotten: Vec<_> = names.iter().filter(|name| !tested(name)).collect();
        assert!(forgotten.is_empty(), "no row in tests/cli_output/table.rs: {forgotten:?}");
        assert!(output_table::ROWS.iter().all(|row| names.iter().any(|name| name == row.command)));
    }
}
