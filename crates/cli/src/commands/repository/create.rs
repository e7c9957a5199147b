//! `composefs create`: creates an image of a directory tree.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::policy::{FileContents, Inline};
use libcomposefs_image::tree::Timestamp;
use libcomposefs_oci::pull::image_format;
use libcomposefs_repo::{Created, Format, RefName, Repository};
use libcomposefs_scan::{self as scan, Mtime, Patterns, XattrChoice};
use serde_json::json;

use super::RepositoryArgs;
use crate::commands::bootable_args::BootableArgs;
use crate::complete;
use crate::interrupt::Interrupt;
use crate::lost_opaque;
use crate::output;
use crate::scan_progress::ScanProgress;
use crate::tree_labels::{TreeContents, apply_with_labels};

/// Create an image of a directory tree in a repository, with all its contents.
///
/// Prints the digest of the image. In one repository, the same tree always has the same digest. Contents that the
/// repository already has are not stored again. When the command returns, image, contents and name are on disk.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CreateArgs {
    /// Directory, or a symlink to one
    #[arg(value_name = "PATH")]
    source: PathBuf,
    /// Name for the image; another image that has the name loses it. An untagged image is removed by the next gc
    #[arg(long, value_name = "REF", add = ArgValueCompleter::new(complete::refs))]
    name: Option<RefName>,
    #[command(flatten)]
    bootable: BootableArgs,
    /// Keep only user.* xattrs
    #[arg(long, conflicts_with_all = ["skip_xattrs", "bootable"])]
    user_xattrs: bool,
    /// Leave out all xattrs
    #[arg(long, conflicts_with = "bootable")]
    skip_xattrs: bool,
    /// Leave out device nodes
    #[arg(long, conflicts_with = "bootable")]
    skip_devices: bool,
    /// Set all mtimes to zero
    #[arg(long, conflicts_with = "bootable")]
    use_epoch: bool,
    /// Number of threads to use
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images create rootfs/ --name=debian/13
  composefs --repo=/srv/images create rootfs/ --bootable --name=os/1
  composefs --repo=/srv/images create rootfs/ --user-xattrs --use-epoch --json

Exit status: 0 if the image was created, 1 if not, 128 plus the signal number if a signal cancelled the command. On
failure nothing is published; objects that were already stored are removed by a later gc.";

pub(crate) fn run(args: &CreateArgs, selected: &RepositoryArgs) -> ExitCode {
    let interrupt = Interrupt::watch();
    interrupt.end(create(args, selected, &interrupt))
}

fn create(args: &CreateArgs, selected: &RepositoryArgs, interrupt: &Interrupt) -> anyhow::Result<()> {
    let repository = selected.open()?.interrupted_by(interrupt.flag());
    let xattrs = match (args.skip_xattrs, args.user_xattrs) {
        (true, _) => XattrChoice::None,
        (_, true) => XattrChoice::UserOnly,
        _ => XattrChoice::All,
    };
    let options = scan::Options {
        xattrs,
        mtime: if args.use_epoch { Mtime::Fixed(Timestamp::default()) } else { Mtime::Keep },
        skip_devices: args.skip_devices,
        follow_root: true,
        threads: args.threads,
        ..scan::Options::default()
    };
    let progress = ScanProgress::start();
    let created = if args.bootable.bootable {
        create_bootable(args, &repository, &options, &progress)?
    } else {
        repository.create(&args.source, &options, args.name.as_ref(), &progress)?
    };
    drop(progress);
    print_created(&created, args.name.as_ref(), &repository, args.json);
    Ok(())
}

/// Creates the bootable image of the directory. What is below /run, /boot and /sysroot is not read.
fn create_bootable(
    args: &CreateArgs,
    repository: &Repository,
    options: &scan::Options,
    progress: &ScanProgress,
) -> anyhow::Result<Created> {
    let mut patterns = Patterns::default();
    for emptied in ["/run/*", "/boot/*", "/sysroot/*"] {
        patterns.exclude(emptied)?;
    }
    let options = scan::Options { hardlinks: true, patterns, ..options.clone() };
    let format = image_format(repository.meta().format);
    let version = if format == Format::Legacy { 2 } else { 1 };
    let transaction = repository.transaction()?;
    let scanned = transaction.scan(&args.source, &options, progress)?;
    let policy = args.bootable.policy(version, repository.algorithm(), Inline::AsGiven);
    let place = TreeContents::Directory(&args.source);
    let tree = apply_with_labels(&policy, &scanned, &FileContents::default(), place)
        .with_context(|| format!("make a bootable image of {}", args.source.display()))?;
    let image = format.plan(&tree)?;
    Ok(transaction.commit_image(&tree, &image, args.name.clone().into_iter().collect())?)
}

/// Prints warnings about the result.
pub(super) fn warn(created: &Created, repository: &Repository) {
    lost_opaque::warn("composefs", &created.lost_opaque);
    for repaired in &created.objects.repaired {
        let path = repository.objects().path_of(repaired);
        tell!("composefs: {} was damaged and has been replaced; remount any mount that uses it", path.display());
    }
}

/// Prints the result on standard output, and warnings on standard error.
pub(crate) fn print_created(created: &Created, name: Option<&RefName>, repository: &Repository, json: bool) {
    warn(created, repository);
    if json {
        output::json(&created_json(created, name));
    } else {
        out!("{}", created.digest);
    }
}

fn created_json(created: &Created, name: Option<&RefName>) -> serde_json::Value {
    json!({
        "digest": created.digest.to_hex(),
        "size": created.size,
        "new": created.is_new,
        "name": name.map(RefName::as_str),
        "replaced": created.replaced.map(|digest| digest.to_hex()),
        "objects": {
            "new": created.objects.new,
            "present": created.objects.present,
            "repaired": created.objects.repaired.iter().map(|digest| digest.to_hex()).collect::<Vec<_>>(),
            "bytes_written": created.objects.bytes_written,
        },
    })
}
