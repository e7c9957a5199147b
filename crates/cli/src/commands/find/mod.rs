//! `composefs find`: prints the paths of an image that meet conditions.

mod condition;
mod value;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::erofs::read::{LastLink, LoadedImage};
use libcomposefs_image::tree::{InodeId, Kind};

use self::condition::{Conditions, FindEntry};
use super::repository::RepositoryArgs;
use crate::complete;
use crate::inspect::failures::Failures;
use crate::inspect::image::{InspectedImage, inspect};
use crate::inspect::listing::{LineFormat, ListingArgs};
use crate::inspect::output::ListOutput;
use crate::inspect::path::{PATHS, in_tree, or_root};
use crate::operand::IMAGES;

/// Print the paths of an image that meet all given conditions.
///
/// Searches each PATH, itself included, in byte order; a directory is printed before its entries.
#[derive(clap::Args)]
#[command(after_help = format!("{IMAGES}\n\n{PATHS}\n\n{EXAMPLES}"))]
pub(super) struct FindArgs {
    /// Image: a file, or a ref or digest of the repository
    #[arg(add = ArgValueCompleter::new(complete::operands))]
    image: PathBuf,
    /// Paths to search [default: the root]
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    #[command(flatten)]
    conditions: Conditions,
    #[command(flatten)]
    listing: ListingArgs,
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
pub(super) fn run(args: &FindArgs, selected: &RepositoryArgs) -> ExitCode {
    let mut failures = Failures::default();
    let out = args.listing.names.out();
    let done = find(args, selected, &mut failures, out);
    failures.status(done)
}

pub(super) fn find(
    args: &FindArgs,
    selected: &RepositoryArgs,
    failures: &mut Failures,
    out: impl Write,
) -> anyhow::Result<()> {
    inspect(&args.image, selected, |image| {
        let (loaded, format, lines) = (image.load()?, args.listing.format(), ListOutput::new(args.json, out));
        let mut finder = Finder { conditions: &args.conditions, image, loaded: &loaded, format, lines };
        for path in or_root(&args.paths) {
            failures.pass(finder.below(path))?;
        }
        Ok(finder.lines.finish()?)
    })
}

struct Finder<'i, 'r, 'a, W: Write> {
    conditions: &'i Conditions,
    image: &'i InspectedImage<'r, 'a>,
    loaded: &'i LoadedImage,
    format: LineFormat,
    lines: ListOutput<W>,
}

impl<W: Write> Finder<'_, '_, '_, W> {
    fn below(&mut self, path: &[u8]) -> anyhow::Result<()> {
        let tree = &self.loaded.tree;
        let found = self.image.resolve(path, LastLink::Keep)?;
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
        let node = self.loaded.node(self.image.reader, id).map_err(|error| self.image.refused(path, error))?;
        let inode = self.loaded.tree.inode(id);
        let candidate = FindEntry { path, node: &node, inode: &inode };
        if !self.conditions.hold_for(&candidate) {
            return Ok(());
        }
        let info = || self.image.info(node, path);
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
