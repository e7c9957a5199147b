//! `composefs extract`: extracts the files of an image.

mod progress;
mod report;

use std::cell::OnceCell;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{anyhow, bail};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Digest;
use libcomposefs_store::Basedirs;
use libcomposefs_store::extract::{ExtractError, Options, Owners, Selection, extract};

use super::repository::RepositoryArgs;
use crate::complete;
use crate::error_text::with_remedy;
use crate::operand::{IMAGES, ImageOperand, Operands};
use crate::rlimits::allow_open_files;
use progress::ExtractProgress;

/// Extract the files of an image and its objects.
///
/// Every content is compared with its fs-verity digest before the file gets its name. Types, modes, owners (as root),
/// times, xattrs, hard links, devices and whiteouts are restored from the image; failures to restore them are counted.
/// A file whose object is missing or damaged is not created; all other files are extracted.
#[derive(clap::Args)]
#[command(after_help = format!("{IMAGES}\n\n{EXAMPLES}"))]
pub(super) struct ExtractArgs {
    /// Image: a file, or a ref or digest of the repository
    #[arg(add = ArgValueCompleter::new(complete::operands))]
    image: PathBuf,
    /// Directory to extract to: created, or empty
    target: PathBuf,
    /// Extract only these paths of the image, with everything below them and their parent directories
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Object directory; may be given several times [default for images of the repository: its objects]
    #[arg(long, value_name = "DIR")]
    basedir: Vec<PathBuf>,
    /// Expected fs-verity digest of the image
    #[arg(long, value_name = "HEX")]
    digest: Option<Digest>,
    /// Extract into a directory that is not empty: merge directories, replace other files, and do not follow symlinks
    /// in it
    #[arg(long)]
    merge: bool,
    /// Make the caller the owner of all files, without the set-user-ID and set-group-ID bits of other owners
    #[arg(long)]
    no_same_owner: bool,
    /// Also extract contents for which the image has no digest to verify them with
    #[arg(long)]
    unverified: bool,
    /// Number of threads to use
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs extract rootfs.img rootfs --basedir=objects
  composefs extract rootfs.img etc --basedir=objects /etc /usr/share/zoneinfo
  composefs extract rootfs.img / --basedir=objects --merge /usr/bin/passwd
  composefs extract rootfs.img out --basedir=objects --digest=$(cat rootfs.digest) --json

Exit status: 0 if everything was extracted, 1 if something was not, 2 for a usage error. Nothing is synced to disk.";

/// Runs the command. Returns false if something was not extracted.
pub(super) fn run(args: &ExtractArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let opened = OnceCell::new();
    let operands = Operands::new(selected, &opened);
    let ImageOperand { file: image, .. } = operands.read(&args.image)?;
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
    let basedirs = operands.basedirs(Basedirs::open(&args.basedir)?)?;
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
        ExtractError::NotEmpty { .. } => with_remedy(error, "use another directory, or --merge"),
        error => anyhow!(error),
    })?;
    if args.json {
        report::print_json(args, &outcome);
    } else {
        report::print_text(&outcome, &basedirs);
    }
    Ok(outcome.is_whole())
}
