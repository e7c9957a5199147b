//! `composefs-dump`: reads an image and writes it again in its format version. As a test: the bytes must be the same.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_store::publish::replace_file;

use crate::c_tool::{CTool, EarlyExit, usage_error_with_usage};
use crate::getopt::{self, Argument, LongOption, flag};
use crate::image_file::ImageFile;

const USAGE: &str = "\
usage: composefs-dump SRC DEST
Options:
  --help                  Show this
  --version               Show the version
";

const EXAMPLES: &str = "
Reads the image SRC and writes its tree as the image DEST, in the format version of SRC. DEST is identical to SRC if
SRC was written by mkcomposefs or an equivalent tool. Images of format version 2 can be read, but not written.

Example:
  composefs-dump rootfs.img again.img && cmp rootfs.img again.img
";

const TOOL: CTool = CTool { name: "composefs-dump", usage: USAGE, examples: EXAMPLES };

#[derive(Clone, Copy, Debug)]
enum DumpOption {
    Help,
    Version,
}

const OPTIONS: [LongOption<DumpOption>; 2] = [flag("help", DumpOption::Help), flag("version", DumpOption::Version)];

/// Mode of a new image, before the umask is applied.
const IMAGE_MODE: u32 = 0o666;

/// Runs `composefs-dump` with the arguments after the program's name.
pub(crate) fn run(arguments: Vec<OsString>) -> ExitCode {
    match parse(arguments) {
        Ok((source, destination)) => TOOL.exit_status(dump(Path::new(&source), Path::new(&destination))),
        Err(stop) => TOOL.exit_early(stop),
    }
}

fn parse(arguments: Vec<OsString>) -> Result<(OsString, OsString), EarlyExit> {
    let mut operands = Vec::new();
    for argument in getopt::parse(&OPTIONS, arguments).map_err(EarlyExit::from)? {
        match argument {
            Argument::Operand(operand) => operands.push(operand),
            Argument::Option(DumpOption::Help, _) => return Err(EarlyExit::Help),
            Argument::Option(DumpOption::Version, _) => return Err(EarlyExit::Version),
        }
    }
    let mut operands = operands.into_iter();
    let source = operands.next().ok_or_else(|| usage_error_with_usage("No source path specified"))?;
    let destination = operands.next().ok_or_else(|| usage_error_with_usage("No destination path specified"))?;
    match operands.next() {
        Some(_) => Err(usage_error_with_usage("Too many arguments")),
        None => Ok((source, destination)),
    }
}

fn dump(source: &Path, destination: &Path) -> anyhow::Result<()> {
    let file = ImageFile::read(source)?;
    let reader = file.reader()?;
    let loaded = file.load(&reader, &[])?;
    let versions = Versions::exactly(reader.header().format_version);
    let image = Image::plan(&loaded.tree, versions).context("cannot write file")?;
    replace_file(destination, IMAGE_MODE, |mut file| image.write(&mut file).context("cannot write file"))?;
    Ok(())
}
