//! `composefs-info`: prints the contents of images.
//!
//! Command line, messages and output are those of the C tool; `docs/compatibility.md` lists the differences.

mod list;
mod measure;
mod objects;
mod options;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use options::{InfoCommand, InfoRequest};

use crate::c_tool::CTool;
use crate::image_file::ImageFile;
use crate::output;

const USAGE: &str = "\
usage: composefs-info [--basedir=path] [ls|objects|dump|missing-objects|measure-file] IMAGES...
Options:
  --basedir=PATH          Look up objects in this directory (missing-objects)
  --filter=NAME           Read only this entry of the root; may be given several times
  --help                  Show this help
  --version               Show the version
";

const EXAMPLES: &str = "
Commands:
  ls                      List the paths of images, with symlink targets and objects
  dump                    Print images as text, from which mkcomposefs --from-file rebuilds them
  objects                 Print the objects that images need, each once
  missing-objects         Print the objects that are not in --basedir
  measure-file            Print the fs-verity digests of files

Examples:
  composefs-info ls rootfs.img
  composefs-info --filter=usr dump rootfs.img
  composefs-info --basedir=objects missing-objects old.img new.img
  composefs-info dump rootfs.img | mkcomposefs --from-file --print-digest-only -
";

const TOOL: CTool = CTool { name: "composefs-info", usage: USAGE, examples: EXAMPLES };

/// Runs `composefs-info` with the arguments after the program's name.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    let request = match InfoRequest::parse(arguments) {
        Ok(request) => request,
        Err(stop) => return TOOL.exit_early(stop),
    };
    let mut out = output::data();
    TOOL.exit_status(inform(&request, &mut out).and_then(|()| Ok(out.flush()?)))
}

fn inform(request: &InfoRequest, out: &mut impl Write) -> anyhow::Result<()> {
    let only: Vec<&[u8]> = request.only();
    let basedir = request.open_basedir()?;
    match request.command {
        InfoCommand::MeasureFile => return measure::measure_files(&request.files, out),
        InfoCommand::Objects => return objects::print(&request.files, &only, None, out),
        InfoCommand::MissingObjects => return objects::print(&request.files, &only, Some(basedir.as_ref()), out),
        InfoCommand::Ls | InfoCommand::Dump => {}
    }
    for path in &request.files {
        let image = ImageFile::read(path);
        // The output for earlier images remains.
        out.flush()?;
        let image = image?;
        let reader = image.reader()?;
        let loaded = image.load(&reader, &only)?;
        match request.command {
            InfoCommand::Dump => loaded.emit_dump(&reader, out)?,
            _ => list::list(&loaded.tree, out)?,
        }
    }
    Ok(())
}
