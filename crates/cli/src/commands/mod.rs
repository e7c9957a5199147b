//! The subcommands of `composefs`, and the programs that go by another name.

mod cat;
mod check;
mod completion;
#[cfg(test)]
mod damaged;
mod diff;
mod digest;
mod doctor;
mod du;
pub(crate) mod dump;
mod explain_digest;
mod extract;
mod find;
pub(crate) mod fuse;
mod groups;
pub(crate) mod info;
mod ls;
mod man_pages;
pub(crate) mod mkcomposefs;
mod mount;
pub(crate) mod mount_helper;
mod ostree;
pub(crate) mod repository;
mod stat;
mod umount;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::exit::{done, whole};
use crate::{complete, output};

/// Build, verify and mount file system images whose file contents live once, in an object store.
#[derive(Parser)]
#[command(name = "composefs", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Composefs {
    #[command(flatten)]
    repository: repository::Which,
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

Exit status: 0 if it was done, 1 if not, or if the output could not be written, 2 for a command line that is wrong; a
command that has others says so in its --help. Called as mkcomposefs, composefs-info, composefs-dump or mount.composefs
it is those programs, with status 1 for every failure.";

#[derive(Subcommand)]
enum Command {
    Cat(cat::CatArgs),
    Check(check::CheckArgs),
    Completion(completion::CompletionArgs),
    Create(repository::create::CreateArgs),
    Df(repository::df::DfArgs),
    Diff(diff::DiffArgs),
    Digest(digest::DigestArgs),
    Doctor(doctor::DoctorArgs),
    Du(du::DuArgs),
    ExplainDigest(explain_digest::ExplainDigestArgs),
    Export(repository::export::ExportArgs),
    Extract(extract::ExtractArgs),
    Find(Box<find::FindArgs>),
    Fsck(repository::fsck::FsckArgs),
    Gc(repository::gc::GcArgs),
    Images(repository::images::ImagesArgs),
    Import(repository::import::ImportArgs),
    Init(repository::init::InitArgs),
    Ls(ls::LsArgs),
    #[command(hide = true)]
    ManPages(man_pages::ManPagesArgs),
    Mount(mount::MountArgs),
    Mounts(repository::mounts::MountsArgs),
    Ostree(ostree::OstreeArgs),
    Stat(stat::StatArgs),
    Sync(repository::sync::SyncArgs),
    Tag(repository::tag::TagArgs),
    Umount(umount::UmountArgs),
    Untag(repository::untag::UntagArgs),
    Why(repository::why::WhyArgs),
}

/// Returns the command line of `composefs` as clap has it.
fn command() -> clap::Command {
    groups::with_grouped_help(Composefs::command())
}

/// Runs `composefs` with the arguments behind its name.
pub(crate) fn run(args: Vec<OsString>) -> ExitCode {
    if let Some(status) = complete::answer(command()) {
        return status;
    }
    let line = std::iter::once("composefs".into()).chain(args);
    let Composefs { repository: which, command } = match output::parse(command(), line) {
        Ok(parsed) => parsed,
        Err(status) => return status,
    };
    match command {
        Command::Cat(args) => cat::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Completion(args) => done(completion::run(&args, self::command())),
        Command::Create(args) => repository::create::run(&args, &which),
        Command::Df(args) => done(repository::df::run(&args, &which)),
        Command::Diff(args) => diff::run(args),
        Command::Digest(args) => done(digest::run(&args)),
        Command::Doctor(args) => doctor::run(&args, &which),
        Command::Du(args) => du::run(&args),
        Command::ExplainDigest(args) => explain_digest::run(&args),
        Command::Export(args) => done(repository::export::run(&args, &which)),
        Command::Extract(args) => whole(extract::run(&args)),
        Command::Find(args) => find::run(&args),
        Command::Fsck(args) => repository::fsck::run(&args, &which),
        Command::Gc(args) => repository::gc::run(&args, &which),
        Command::Images(args) => repository::images::run(&args, &which),
        Command::Import(args) => repository::import::run(&args, &which),
        Command::Init(args) => done(repository::init::run(&args, &which)),
        Command::Ls(args) => ls::run(&args),
        Command::ManPages(args) => done(man_pages::run(&args, self::command())),
        Command::Mount(args) => done(mount::run(args, &which)),
        Command::Mounts(args) => done(repository::mounts::run(&args, &which)),
        Command::Ostree(args) => ostree::run(args, &which),
        Command::Stat(args) => stat::run(&args),
        Command::Sync(args) => repository::sync::run(&args, &which),
        Command::Tag(args) => done(repository::tag::run(&args, &which)),
        Command::Umount(args) => done(umount::run(&args)),
        Command::Untag(args) => done(repository::untag::run(&args, &which)),
        Command::Why(args) => repository::why::run(&args, &which),
    }
}

#[cfg(test)]
#[path = "../../tests/cli_output/table.rs"]
#[allow(dead_code)]
mod output_table;

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the commands that have none below them.
    fn leaves(command: &clap::Command, above: &str, names: &mut Vec<String>) {
        for below in command.get_subcommands() {
            let name = format!("{above}{}", below.get_name());
            if below.has_subcommands() { leaves(below, &format!("{name} "), names) } else { names.push(name) }
        }
    }

    #[test]
    fn tests_of_output_run_every_command() {
        let mut names = vec![String::new()];
        names.extend(["mkcomposefs", "composefs-info", "composefs-dump", "mount.composefs"].map(str::to_owned));
        leaves(&command(), "", &mut names);
        let tested = |name: &String| output_table::ROWS.iter().any(|row| row.command == name);
        let forgotten: Vec<_> = names.iter().filter(|name| !tested(name)).collect();
        assert!(forgotten.is_empty(), "no row in tests/cli_output/table.rs: {forgotten:?}");
        assert!(output_table::ROWS.iter().all(|row| names.iter().any(|name| name == row.command)));
    }
}
