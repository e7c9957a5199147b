//! `composefs find`: prints the paths of an image that meet conditions.

mod condition;
mod value;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libcomposefs_image::erofs::read::{ImageReader, LastLink, LoadedImage, View};
use libcomposefs_image::tree::{InodeId, Kind};

use self::condition::{Conditions, FindEntry};
use crate::image_file::ImageFile;
use crate::inspect::failures::Failures;
use crate::inspect::inode_info::InodeInfo;
use crate::inspect::listing::LineFormat;
use crate::inspect::names::NameArgs;
use crate::inspect::output::ListOutput;
use crate::inspect::path::{PATHS, in_tree, refused, resolve};
use crate::inspect::size::SizeFormat;

/// Print the paths of an image that meet all given conditions.
///
/// Searches each PATH, itself included, in byte order; a directory is printed before its entries.
#[derive(clap::Args)]
#[command(after_help = format!("{PATHS}\n\n{EXAMPLES}"))]
pub(super) struct FindArgs {
    /// Path of the image file
    image: PathBuf,
    /// Paths to search [default: the root]
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    #[command(flatten)]
    conditions: Conditions,
    /// Also print mode, links, owner, size and time
    #[arg(short, long)]
    long: bool,
    /// Print sizes with units, such as 1.2M
    #[arg(short = 'H', long)]
    human: bool,
    #[command(flatten)]
    names: NameArgs,
    /// Print a JSON array with an object for each path
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs find rootfs.img --name '*.so*' --type f
  composefs find rootfs.img /usr --perm /6000 --long
  composefs find rootfs.img --size +10M --newer 2024-01-01
  composefs find rootfs.img --digest cc3da5b14909    # which file is this object?
  composefs find rootfs.img --xattr security.capability -0 | xargs -0 composefs stat rootfs.img

Exit status: 0 if everything was searched (even if nothing was found), 1 if something was not, 2 for a usage error.";

/// Runs the command and returns its exit status.
pub(super) fn run(args: &FindArgs) -> ExitCode {
    let mut failures = Failures::default();
    let out = args.names.out();
    let done = find(args, &mut failures, out);
    failures.status(done)
}

pub(super) fn find(args: &FindArgs, failures: &mut Failures, out: impl Write) -> anyhow::Result<()> {
    let image = ImageFile::read(&args.image)?;
    let reader = image.reader()?;
    let loaded = image.load(&reader, &[])?;
    let format = LineFormat {
        long: args.long,
        names: args.names.names(),
        sizes: SizeFormat::human(args.human),
        line_end: args.names.line_end(),
    };
    let mut finder = Finder { args, reader: &reader, loaded: &loaded, format, lines: ListOutput::new(args.json, out) };
    let root = OsString::from_vec(b"/".to_vec());
    let paths = if args.paths.is_empty() { std::slice::from_ref(&root) } else { &args.paths };
    for path in paths {
        failures.pass(finder.below(path.as_bytes()))?;
    }
    Ok(finder.lines.finish()?)
}

struct Finder<'r, 'a, W: Write> {
    args: &'r FindArgs,
    reader: &'r ImageReader<'a>,
    loaded: &'r LoadedImage,
    format: LineFormat,
    lines: ListOutput<W>,
}

impl<W: Write> Finder<'_, '_, W> {
    fn below(&mut self, path: &[u8]) -> anyhow::Result<()> {
        let tree = &self.loaded.tree;
        let found = resolve(&self.args.image, &View::new(self.reader), path, LastLink::Keep)?;
        let start = in_tree(tree, &found.path).unwrap_or(InodeId::ROOT);
        self.look(&found.path, start)?;
        if tree.inode(start).kind() != Kind::Directory {
            return Ok(());
        }
        // The path of the root is the slash with which all other paths start.
        let above = found.path.strip_suffix(b"/").unwrap_or(&found.path);
        let mut entries = tree.depth_first_from(start, above);
        while let Some((path, entry)) = entries.step() {
            self.look(path, entry.inode)?;
        }
        Ok(())
    }

    fn look(&mut self, path: &[u8], id: InodeId) -> anyhow::Result<()> {
        let image: &Path = &self.args.image;
        let node = self.loaded.node(self.reader, id).map_err(|error| refused(image, path, error))?;
        let inode = self.loaded.tree.inode(id);
        let candidate = FindEntry { path, node: &node, inode: &inode };
        if !self.args.conditions.hold_for(&candidate) {
            return Ok(());
        }
        let info = || InodeInfo::of(&View::new(self.reader), node).map_err(|error| refused(image, path, error));
        match &mut self.lines {
            ListOutput::Json(array) => array.push(&info()?.json(path))?,
            ListOutput::Text(out) => {
                let mut line = Vec::new();
                if self.format.long {
                    self.format.push_long(&info()?, path, &mut line);
                } else {
                    self.format.push_short(path, &mut line);
                }
                out.write_all(&line)?;
            }
        }
        Ok(())
    }
}
