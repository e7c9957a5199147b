//! `composefs check`: whether images, and the objects they need, are as they should be.

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

use crate::exit::answered;
use crate::rlimits;

/// Check images: their structure, their digests and, with --basedir, all objects they need.
///
/// Everything that is wrong is told, not only the first. Beside what no mount and no reader takes (errors) that is what a
/// mount bears and no writer makes (warnings), whether a writer makes the same bytes of the tree (canonical), and what is
/// good to know (notes). Objects are looked for, their lengths compared and their contents read, each once and on all CPUs,
/// unless the kernel's fs-verity vouches for them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
    /// Also check the objects, which are here; may be given several times
    #[arg(long, value_name = "DIR")]
    basedir: Vec<PathBuf>,
    /// The fs-verity digest that the image must have; of several images, each
    #[arg(long, value_name = "HEX")]
    digest: Option<Digest>,
    /// Read also objects that the kernel's fs-verity vouches for
    #[arg(long, requires = "basedir")]
    read: bool,
    /// Let warnings count as errors
    #[arg(long)]
    strict: bool,
    /// Use so many threads
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs check rootfs.img
  composefs check --basedir=objects rootfs.img other.img
  composefs check --strict --digest=$(cat rootfs.digest) rootfs.img
  composefs check --basedir=objects --read --json rootfs.img

Exit status: 0 if all is sound (warnings allowed, unless --strict), 1 if something is wrong, 2 if that could not be found
out, as a file cannot be read or the command line is wrong.";

/// Runs the command.
pub(super) fn run(args: &CheckArgs) -> ExitCode {
    answered(check(args))
}

/// Whether all is sound.
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
