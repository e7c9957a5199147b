//! `composefs-info`: what is in images.
//!
//! Command line, messages and output are the C tool's; `docs/compatibility.md` lists where this one does otherwise.

mod list;
mod measure;
mod objects;
mod options;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use options::{Command, Request};

use crate::c_tool::Face;
use crate::image_file::ImageFile;
use crate::output;

const USAGE: &str = "\
usage: composefs-info [--basedir=path] [ls|objects|dump|missing-objects|measure-file] IMAGES...
Options:
  --basedir=PATH          Look for objects here (missing-objects)
  --filter=NAME           Take only this entry of the root; may be given again
  --help                  Show this
  --version               Show the version
";

const EXAMPLES: &str = "
Commands:
  ls                      The paths of an image, with symlink targets and objects
  dump                    An image as text, which mkcomposefs --from-file makes the same image of
  objects                 The objects that images need, each once
  missing-objects         Those that are not in --basedir
  measure-file            The fs-verity digests of files

Examples:
  composefs-info ls rootfs.img
  composefs-info --filter=usr dump rootfs.img
  composefs-info --basedir=objects missing-objects old.img new.img
  composefs-info dump rootfs.img | mkcomposefs --from-file --print-digest-only -
";

const FACE: Face = Face { name: "composefs-info", usage: USAGE, examples: EXAMPLES };

/// Runs `composefs-info` with the arguments behind its name.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    let request = match Request::parse(arguments) {
        Ok(request) => request,
        Err(stop) => return FACE.stop(stop),
    };
    let mut out = output::data();
    FACE.end(inform(&request, &mut out).and_then(|()| Ok(out.flush()?)))
}

fn inform(request: &Request, out: &mut impl Write) -> anyhow::Result<()> {
    let only: Vec<&[u8]> = request.only();
    let basedir = request.open_basedir()?;
    match request.command {
        Command::MeasureFile => return measure::measure_files(&request.files, out),
        Command::Objects => return objects::print(&request.files, &only, None, out),
        Command::MissingObjects => return objects::print(&request.files, &only, Some(basedir.as_ref()), out),
        Command::Ls | Command::Dump => {}
    }
    for path in &request.files {
        let image = ImageFile::read(path);
        // What was said of the images before stays said.
        out.flush()?;
        let image = image?;
        let reader = image.reader()?;
        let loaded = image.load(&reader, &only)?;
        match request.command {
            Command::Dump => loaded.emit_dump(&reader, out)?,
            _ => list::list(&loaded.tree, out)?,
        }
    }
    Ok(())
}
