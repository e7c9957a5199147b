//! `composefs check`: verifies images and the objects they need.

mod image;
mod objects;
mod report;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use libcomposefs_image::Digest;
use libcomposefs_image::erofs::check::Severity;
use libcomposefs_store::Basedirs;

use image::Checked;
use objects::{Objects, Wanted};

use crate::exit::exit_answer;
use crate::rlimits;

/// Check images: their structure, their digests and, with --basedir, all objects they need.
///
/// Reports all findings, not only the first. An error is rejected by mounts or readers; a warning is tolerated by
/// mounts, but no writer produces it; a note is for information. Also reports whether the image is canonical: whether
/// writing its tree again gives the same bytes. With --basedir, checks that each object exists and has the right length
/// and content, once and in parallel; contents that the kernel verifies by fs-verity are not read.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// Paths of the image files
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Also check the objects in this directory; may be given several times
    #[arg(long, value_name = "DIR")]
    basedir: Vec<PathBuf>,
    /// Expected fs-verity digest of the image, or of every image
    #[arg(long, value_name = "HEX")]
    digest: Option<Digest>,
    /// Also read objects that the kernel verifies by fs-verity
    #[arg(long, requires = "basedir")]
    read: bool,
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
  composefs check --strict --digest=$(cat rootfs.digest) rootfs.img
  composefs check --basedir=objects --read --json rootfs.img

Exit status: 0 if there are no errors (with --strict, no warnings either), 1 if there are, 2 if a file cannot be read,
or for a usage error.";

/// Runs the command and returns its exit status.
pub(super) fn run(args: &CheckArgs) -> ExitCode {
    exit_answer(check(args))
}

/// Checks everything; returns true if there are no problems.
fn check(args: &CheckArgs) -> anyhow::Result<bool> {
    let threads = rlimits::threads(args.threads);
    let basedirs = Basedirs::open(&args.basedir)?;
    let (mut images, mut wanted) = (Vec::new(), Wanted::default());
    for path in &args.images {
        let needs = (!basedirs.is_empty()).then_some(&mut wanted);
        let image = Checked::new(path, args.digest, threads, needs).with_context(|| path.display().to_string())?;
        if !args.json {
            report::print_image(&image);
        }
        images.push(image);
    }
    let objects = (!basedirs.is_empty()).then(|| Objects::verify(&basedirs, wanted, args.read, threads));
    let worst = if args.strict { Severity::Warning } else { Severity::Error };
    let is_sound = images.iter().all(|image| image.is_sound(worst)) && objects.as_ref().is_none_or(Objects::are_right);
    match &objects {
        _ if args.json => report::print_json(&images, objects.as_ref(), is_sound, worst),
        Some(objects) => report::print_objects(objects),
        None => {}
    }
    Ok(is_sound)
}
