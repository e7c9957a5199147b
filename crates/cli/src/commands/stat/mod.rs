//! `composefs stat`: prints information about an inode or an image.

mod image;
mod inode;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libcomposefs_image::erofs::read::{LastLink, View};

use self::image::ImageInfo;
use self::inode::InodeReport;
use crate::image_file::ImageFile;
use crate::inspect::failures::Failures;
use crate::inspect::inode_info::InodeInfo;
use crate::inspect::output::ListOutput;
use crate::inspect::path::{PATHS, refused, resolve};
use crate::json::write_pretty;
use crate::output;

/// Print all information about files in an image, or about the image.
///
/// For a path: type, mode, owner, size, time, device, storage, digest and object of the content, xattrs, and number,
/// form and offset of the inode. A symlink is not followed unless a slash follows its name. Without a path: format
/// version, size, digest, and the number of inodes of each kind.
#[derive(clap::Args)]
#[command(after_help = format!("{PATHS}\n\n{EXAMPLES}"))]
pub(super) struct StatArgs {
    /// Path of the image file
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
pub(super) fn run(args: &StatArgs) -> ExitCode {
    let mut failures = Failures::default();
    let out = output::text();
    let done = show(args, &mut failures, out);
    failures.status(done)
}

pub(super) fn show(args: &StatArgs, failures: &mut Failures, mut out: impl Write) -> anyhow::Result<()> {
    let file = ImageFile::read(&args.image)?;
    let reader = file.reader()?;
    let view = View::new(&reader);
    if args.paths.is_empty() {
        let info = ImageInfo::of(&file, &reader, &file.load(&reader, &[])?)?;
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
        let shown = inode(&args.image, &view, path.as_bytes());
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

fn inode<'a>(image: &Path, view: &View<'_, 'a>, path: &[u8]) -> anyhow::Result<InodeReport<'a>> {
    let found = resolve(image, view, path, LastLink::Keep)?;
    let info = || Ok((InodeInfo::of(view, found.node)?, view.xattrs(&found.node)?));
    let (info, xattrs) = info().map_err(|error| refused(image, &found.path, error))?;
    Ok(InodeReport { path: found.path, info, xattrs })
}
