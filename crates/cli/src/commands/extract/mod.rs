//! `composefs extract`: an image as files again.

mod progress;
mod report;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{anyhow, bail};
use libcomposefs_image::Digest;
use libcomposefs_store::Basedirs;
use libcomposefs_store::extract::{ExtractError, Options, Owners, Selection, extract};

use crate::error_text::with_remedy;
use crate::image_file::ImageFile;
use crate::rlimits::allow_open_files;
use progress::ExtractProgress;

/// Make files of an image and its objects.
///
/// Every content is compared with its fs-verity digest before it gets its name. Types, modes, owners (as root), times, xattrs,
/// hard links, devices and whiteouts are as the image has them; what may not be set is counted. Of an object that is missing
/// or damaged nothing is left, and all others are extracted.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExtractArgs {
    /// The image
    image: PathBuf,
    /// The directory to extract to: it is made, or is there and empty
    target: PathBuf,
    /// Extract only these paths of the image, with all below them and the directories above them
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Where the objects are; may be given several times
    #[arg(long, value_name = "DIR")]
    basedir: Vec<PathBuf>,
    /// The fs-verity digest that the image itself must have
    #[arg(long, value_name = "HEX")]
    digest: Option<Digest>,
    /// Extract into a directory that is not empty: directories are merged, other things replaced, symlinks in it not followed
    #[arg(long)]
    merge: bool,
    /// Let everything belong to the caller, without the set-user-ID and set-group-ID bits of other owners
    #[arg(long)]
    no_same_owner: bool,
    /// Also take contents that the image has no digest of, unchecked
    #[arg(long)]
    unverified: bool,
    /// Use so many threads
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs extract rootfs.img rootfs --basedir=objects
  composefs extract rootfs.img etc --basedir=objects /etc /usr/share/zoneinfo
  composefs extract rootfs.img / --basedir=objects --merge /usr/bin/passwd
  composefs extract rootfs.img out --basedir=objects --digest=$(cat rootfs.digest) --json

Exit status: 0 if all is there, 1 if something is missing, 2 for a command line that is wrong. Nothing is synced to disk.";

/// Runs the command. `false` if something was not extracted.
pub(super) fn run(args: &ExtractArgs) -> anyhow::Result<bool> {
    let image = ImageFile::read(&args.image)?;
    let reader = image.reader()?;
    if let Some(expected) = args.digest {
        let found = image.digest(expected.algorithm())?;
        if found != expected {
            bail!("{} has the digest {found}, expected {expected}: nothing is extracted", args.image.display());
        }
    }
    let tree = image.load(&reader, &[])?.tree;
    let paths: Vec<&[u8]> = args.paths.iter().map(|path| path.as_bytes()).collect();
    let selection = Selection::of_paths(&tree, &paths)?;
    let basedirs = Basedirs::open(&args.basedir)?;
    let options = Options {
        owners: if args.no_same_owner { Owners::Mine } else { Owners::IfRoot },
        unverified: args.unverified,
        merge: args.merge,
        threads: args.threads,
    };
    allow_open_files();
    let progress = ExtractProgress::new();
    let outcome = extract(&tree, &selection, &basedirs, &args.target, &options, &progress);
    drop(progress);
    let outcome = outcome.map_err(|error| match error {
        ExtractError::NotEmpty { .. } => with_remedy(error, "another directory, or --merge"),
        error => anyhow!(error),
    })?;
    if args.json {
        report::print_json(args, &outcome);
    } else {
        report::print_text(&outcome, &basedirs);
    }
    Ok(outcome.is_whole())
}
