//! `composefs check`: verifies images and the objects they need.

mod image;
mod objects;
mod report;

use std::cell::OnceCell;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Digest;
use libcomposefs_image::erofs::check::Severity;
use libcomposefs_store::Basedirs;

use image::Checked;
use objects::{Objects, Wanted};

use super::repository::RepositoryArgs;
use crate::complete;
use crate::exit::exit_answer;
use crate::operand::{IMAGES, ImageOperand, Operand, Operands};
use crate::rlimits;

/// Check images: their structure, their digests and, with --basedir or in a repository, all objects they need.
///
/// Reports all findings, not only the first. An error is rejected by mounts or readers; a warning is tolerated by
/// mounts, but no writer produces it; a note is for information. Also reports whether the image is canonical: whether
/// writing its tree again gives the same bytes. With --basedir, and for images of the repository, checks that each
/// object exists and has the right length and content, once and in parallel; contents that the kernel verifies by
/// fs-verity are not read.
#[derive(clap::Args)]
#[command(after_help = format!("{IMAGES}\n\n{EXAMPLES}"))]
pub(super) struct CheckArgs {
    /// Images: files, or refs or digests of the repository
    #[arg(value_name = "IMAGE", required = true, add = ArgValueCompleter::new(complete::operands))]
    images: Vec<PathBuf>,
    /// Also check the objects in this directory; may be given several times [default for images of the repository: its
    /// objects]
    #[arg(long, value_name = "DIR")]
    basedir: Vec<PathBuf>,
    /// Expected fs-verity digest of the image, or of every image
    #[arg(long, value_name = "HEX")]
    digest: Option<Digest>,
    /// Also read objects that the kernel verifies by fs-verity
    #[arg(long)]
    read: bool,
    /// Also report what the tree lacks to be booted, as an error
    #[arg(long)]
    bootable: bool,
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,
    /// Number of threads to use
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs check rootfs.img
  composefs check --basedir=objects rootfs.img other.img
  composefs --repo=/srv/images check --bootable os/1
  composefs check --strict --digest=$(cat rootfs.digest) rootfs.img
  composefs check --basedir=objects --read --json rootfs.img

Exit status: 0 if there are no errors (with --strict, no warnings either), 1 if there are, 2 if a file cannot be read,
or for a usage error.";

/// Runs the command and returns its exit status.
pub(super) fn run(args: &CheckArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_answer(check(args, selected))
}

/// Checks everything; returns true if there are no problems.
fn check(args: &CheckArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let threads = rlimits::threads(args.threads);
    let opened = OnceCell::new();
    let mut operands = Operands::new(selected, &opened);
    if let Some(digest) = args.digest {
        operands = operands.with_algorithm(digest.algorithm());
    }
    let basedirs = Basedirs::open(&args.basedir)?;
    // Before any output. An operand that cannot be looked up is reported in its place, below.
    let is_file = |path: &PathBuf| matches!(operands.find(path), Ok(Operand::File | Operand::Source(_)));
    if args.read && basedirs.is_empty() && args.images.iter().all(is_file) {
        bail!("--read applies to objects: use --basedir=DIR to name the object directory");
    }
    let (mut images, mut wanted) = (Vec::new(), Wanted::default());
    for path in &args.images {
        let ImageOperand { file, digest } = operands.read_unverified(path)?;
        // The objects of a file need not be in the repository.
        let needs = (!basedirs.is_empty() || digest.is_some()).then_some(&mut wanted);
        let checked = Checked::new(path, &file, args.digest.or(digest), threads, needs, args.bootable);
        let image = checked.with_context(|| path.display().to_string())?;
        if !args.json {
            report::print_image(&image);
        }
        images.push(image);
    }
    let basedirs = operands.basedirs(basedirs)?;
    let objects = (!basedirs.is_empty()).then(|| Objects::verify(&basedirs, wanted, args.read, threads));
    let worst = if args.strict { Severity::Warning } else { Severity::Error };
    let is_sound = images.iter().all(|image| image.is_sound(worst) && image.boots())
        && objects.as_ref().is_none_or(Objects::are_right);
    match &objects {
        _ if args.json => report::print_json(&images, objects.as_ref(), is_sound, worst),
        Some(objects) => report::print_objects(objects),
        None => {}
    }
    Ok(is_sound)
}
