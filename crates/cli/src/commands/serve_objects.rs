//! `composefs serve-objects`: serves an object directory in user space, every block verified.

use std::path::PathBuf;

use libcomposefs_fuse::{MountRequest, ObjectContents, ObjectServer, Trust};

use super::fuse::{
    ServicePart, damage_report, default_threads, find_object_directory, find_target, run_here, run_in_background,
};
use crate::rlimits;

/// Serve an object directory in user space, with every block verified.
///
/// DIR shows the objects of OBJECTS, read-only. Before the kernel gets a block of an object, a server compares it with
/// the digest that is the name of the object: a block that differs gives an error (EIO). So the kernel's mount can read
/// verified contents on file systems without fs-verity, such as xfs and NFS: give it DIR as basedir=. All mounts that
/// read from DIR share the memory for contents.
///
/// The image is verified too if it is among the objects and mounted from DIR, by the path of its digest.
///
/// The server runs until DIR is unmounted.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ServeObjectsArgs {
    /// Object directory: of a store, or REPO/objects of a repository
    #[arg(value_name = "OBJECTS")]
    objects: PathBuf,

    /// Directory to mount at
    #[arg(value_name = "DIR")]
    target: PathBuf,

    /// Let other users use the mount
    #[arg(long)]
    allow_other: bool,

    /// Stay in the foreground, and print which object is damaged
    #[arg(long)]
    foreground: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs serve-objects /srv/images/objects /run/verified
  composefs mount rootfs.img /mnt -o basedir=/run/verified
  composefs umount /run/verified";

/// Name of the program, for messages.
const PROGRAM: &str = "composefs";

/// Source of the mount in the list of mounts.
const SOURCE: &str = "composefs:objects";

pub(super) fn run(args: &ServeObjectsArgs) -> anyhow::Result<()> {
    rlimits::allow_open_files();
    let mut objects = args.objects.clone();
    find_object_directory(&mut objects)?;
    let mut mount = MountRequest::new(&args.target);
    find_target(&mut mount)?;
    mount.source = SOURCE.to_owned();
    mount.allow_other = args.allow_other;
    let server = ObjectServer::new(ObjectContents::open(&[objects], Trust::Verify)?, damage_report(PROGRAM));
    if args.foreground {
        return run_here(PROGRAM, &mount, &server, default_threads());
    }
    match run_in_background(PROGRAM, &mount, &server, default_threads())? {
        ServicePart::Caller(_) => Ok(()),
        ServicePart::Server(result) => result,
    }
}
