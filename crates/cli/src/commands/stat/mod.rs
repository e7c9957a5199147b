//! `composefs stat`: prints information about an inode or an image.

mod image;
mod inode;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::erofs::read::LastLink;

use self::image::ImageInfo;
use self::inode::InodeReport;
use super::repository::RepositoryArgs;
use crate::complete;
use crate::inspect::failures::Failures;
use crate::inspect::image::{InspectedImage, inspect};
use crate::inspect::output::ListOutput;
use crate::inspect::path::PATHS;
use crate::json::write_pretty;
use crate::operand::IMAGES;
use crate::output;

/// Print all information about files in an image, or about the image.
///
/// For a path: type, mode, owner, size, time, device, storage, digest and object of the content, xattrs, and number,
/// form and offset of the inode. A symlink is not followed unless a slash follows its name. Without a path: format
/// version, size, digest, and the number of inodes of each kind.
#[derive(clap::Args)]
#[command(after_help = format!("{IMAGES}\n\n{PATHS}\n\n{EXAMPLES}"))]
pub(super) struct StatArgs {
    /// Image: a file, or a ref or digest of the repository
    #[arg(add = ArgValueCompleter::new(complete::operands))]
    image: PathBuf,
    /// Paths in the image
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Print JSON: an array with an object for each path, or one object for the image
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
The content is empty, inline (in the image), object (below an object directory, at the path payload) or hole (the image
does not name the object). To find other names of a hard-linked file: composefs find IMAGE --nid NID

Examples:
  composefs stat rootfs.img
  composefs stat rootfs.img /usr/bin/bash /etc/fstab
  composefs stat --json rootfs.img /usr/bin/bash | jq -r '.[].digest'

Exit status: 0 if everything was printed, 1 if something was not, 2 for a usage error.";

/// Runs the command and returns its exit status.
pub(super) fn run(args: &StatArgs, selected: &RepositoryArgs) -> ExitCode {
    let mut failures = Failures::default();
    let out = output::text();
    let done = show(args, selected, &mut failures, out);
    failures.status(done)
}

pub(super) fn show(
    args: &StatArgs,
    selected: &RepositoryArgs,
    failures: &mut Failures,
    out: impl Write,
) -> anyhow::Result<()> {
    inspect(&args.image, selected, |image| show_image(args, image, failures, out))
}

fn show_image(
    args: &StatArgs,
    image: &InspectedImage<'_, '_>,
    failures: &mut Failures,
    mut out: impl Write,
) -> anyhow::Result<()> {
    if args.paths.is_empty() {
        let info = ImageInfo::of(image.file, image.reader, &image.load()?)?;
        if args.json {
            write_pretty(&mut out, &info)?;
        } else {
            out.write_all(info.text().as_bytes())?;
        }
        return Ok(out.flush()?);
    }
    let mut lines = ListOutput::new(args.json, out);
    let mut is_first = true;
    for path in &args.paths {
        let shown = inode(image, path.as_bytes());
        let done = shown.and_then(|shown| match &mut lines {
            ListOutput::Json(array) => Ok(array.push(&shown.json())?),
            ListOutput::Text(out) => {
                let mut text = if std::mem::replace(&mut is_first, false) { Vec::new() } else { vec![b'\n'] };
                shown.push_text(&mut text);
                Ok(out.write_all(&text)?)
            }
        });
        failures.pass(done)?;
    }
    Ok(lines.finish()?)
}

fn inode<'a>(image: &InspectedImage<'_, 'a>, path: &[u8]) -> anyhow::Result<InodeReport<'a>> {
    let found = image.resolve(path, LastLink::Keep)?;
    let info = image.info(found.node, &found.path)?;
    let xattrs = image.view.xattrs(&found.node).map_err(|error| image.refused(&found.path, error))?;
    Ok(InodeReport { path: found.path, info, xattrs })
}
