//! `composefs ls`: lists names in an image.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::erofs::read::{Child, LastLink, LoadedImage, ReadError, ViewNode};
use libcomposefs_image::tree::{InodeId, Kind};

use super::repository::RepositoryArgs;
use crate::complete;
use crate::inspect::failures::Failures;
use crate::inspect::image::{InspectedImage, inspect};
use crate::inspect::inode_info::InodeInfo;
use crate::inspect::listing::{LineFormat, ListingArgs};
use crate::inspect::output::ListOutput;
use crate::inspect::path::{PATHS, in_tree, join, or_root};
use crate::operand::IMAGES;

/// List a directory of an image, or a file in it.
///
/// Entries are in byte order, one per line. The long format has mode, links, numeric owner and group, size (or device
/// number), time in UTC, name, and the target of a symlink.
#[derive(clap::Args)]
#[command(after_help = format!("{IMAGES}\n\n{PATHS}\n\n{EXAMPLES}"))]
pub(super) struct LsArgs {
    /// Image: a file, or a ref or digest of the repository
    #[arg(add = ArgValueCompleter::new(complete::operands))]
    image: PathBuf,
    /// Directories and files in the image [default: the root]
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// List subdirectories recursively
    #[arg(short = 'R', long)]
    recursive: bool,
    /// List directories themselves, not their entries
    #[arg(short, long, conflicts_with = "recursive")]
    directory: bool,
    #[command(flatten)]
    listing: ListingArgs,
    /// Print a JSON array with an object for each entry, with full paths
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs ls rootfs.img
  composefs ls -l rootfs.img /usr/bin
  composefs --repo=/srv/images ls debian/13 /usr/bin
  composefs ls -lRH rootfs.img /etc
  composefs ls --json rootfs.img /usr/lib | jq -r '.[] | select(.content == \"object\") | .path'

Exit status: 0 if everything was listed, 1 if something was not, 2 for a usage error.";

/// Runs the command and returns its exit status.
pub(super) fn run(args: &LsArgs, selected: &RepositoryArgs) -> ExitCode {
    let mut failures = Failures::default();
    let out = args.listing.names.out();
    let done = list(args, selected, &mut failures, out);
    failures.status(done)
}

pub(super) fn list(
    args: &LsArgs,
    selected: &RepositoryArgs,
    failures: &mut Failures,
    out: impl Write,
) -> anyhow::Result<()> {
    inspect(&args.image, selected, |image| list_image(args, image, failures, out))
}

fn list_image(
    args: &LsArgs,
    image: &InspectedImage<'_, '_>,
    failures: &mut Failures,
    out: impl Write,
) -> anyhow::Result<()> {
    let paths = or_root(&args.paths);
    let mut directories = Vec::new();
    let mut files = Vec::new();
    for path in &paths {
        failures.pass(look(args, image, path, &mut files, &mut directories))?;
    }
    let mut lister =
        Lister { image, format: args.listing.format(), out: ListOutput::new(args.json, out), is_first: true };
    lister.rows(&files)?;
    lister.is_first = files.is_empty();
    let has_heads = args.recursive || paths.len() > 1;
    // Loading the tree detects cycles of directories, which a listing of one directory need not do.
    let loaded = if args.recursive { Some(image.load()?) } else { None };
    for (shown, path, node) in &directories {
        let done = match &loaded {
            None => lister.directory(shown, *node, path, has_heads),
            Some(loaded) => lister.below(loaded, shown, path),
        };
        failures.pass(done)?;
    }
    Ok(lister.out.finish()?)
}

/// A directory: its name on the command line, its path, and its node.
type ListedDirectory = (Vec<u8>, Vec<u8>, ViewNode);

/// An entry to list: its name in the line, its path, and its information.
type ListedEntry<'a> = (Vec<u8>, Vec<u8>, InodeInfo<'a>);

fn look<'a>(
    args: &LsArgs,
    image: &InspectedImage<'_, 'a>,
    path: &[u8],
    files: &mut Vec<ListedEntry<'a>>,
    directories: &mut Vec<ListedDirectory>,
) -> anyhow::Result<()> {
    // As in ls(1): a symlink to a directory is followed, except if the line describes the symlink itself.
    let last = if args.listing.long || args.directory { LastLink::Keep } else { LastLink::Follow };
    let found = match image.resolve(path, last) {
        Err(_) if last == LastLink::Follow => image.resolve(path, LastLink::Keep)?,
        found => found?,
    };
    if found.node.kind() == Kind::Directory && !args.directory {
        directories.push((path.to_owned(), found.path, found.node));
    } else {
        let own = image.resolve(path, LastLink::Keep)?;
        let info = image.info(own.node, &own.path)?;
        files.push((path.to_owned(), own.path, info));
    }
    Ok(())
}

struct Lister<'i, 'r, 'a, W: Write> {
    image: &'i InspectedImage<'r, 'a>,
    format: LineFormat,
    out: ListOutput<W>,
    is_first: bool,
}

impl<'a, W: Write> Lister<'_, '_, 'a, W> {
    fn rows(&mut self, rows: &[ListedEntry<'a>]) -> io::Result<()> {
        match &mut self.out {
            ListOutput::Json(array) => rows.iter().try_for_each(|(_, path, info)| array.push(&info.json(path))),
            ListOutput::Text(out) => {
                let rows: Vec<_> = rows.iter().map(|(name, _, info)| (name.clone(), *info)).collect();
                let mut lines = Vec::new();
                self.format.push(&rows, &mut lines);
                out.write_all(&lines)
            }
        }
    }

    /// Writes the header line of a directory.
    fn head(&mut self, shown: &[u8]) -> io::Result<()> {
        let ListOutput::Text(out) = &mut self.out else { return Ok(()) };
        let mut line = if self.is_first { Vec::new() } else { vec![self.format.line_end] };
        self.is_first = false;
        self.format.names.push(shown, &mut line);
        line.extend_from_slice(&[b':', self.format.line_end]);
        out.write_all(&line)
    }

    fn directory(&mut self, shown: &[u8], node: ViewNode, path: &[u8], has_head: bool) -> anyhow::Result<()> {
        let view = self.image.view;
        let children = || -> Result<Vec<ListedEntry<'a>>, ReadError> {
            let child = |child: Result<_, ReadError>| {
                let Child { name, node } = child?;
                Ok((name.to_owned(), join(path, name), InodeInfo::of(&view, node)?))
            };
            view.children(&node)?.map(child).collect()
        };
        let rows = children().map_err(|error| self.image.refused(path, error))?;
        if has_head {
            self.head(shown)?;
        }
        Ok(self.rows(&rows)?)
    }

    /// Lists a directory and those below it, each before its subdirectories.
    fn below(&mut self, loaded: &LoadedImage, shown: &[u8], path: &[u8]) -> anyhow::Result<()> {
        let start = in_tree(&loaded.tree, path).unwrap_or(InodeId::ROOT);
        let mut stack = vec![(shown.to_owned(), path.to_owned(), start)];
        while let Some((shown, path, directory)) = stack.pop() {
            let mut rows = Vec::new();
            let first = stack.len();
            for entry in loaded.tree.children(directory) {
                let of = || InodeInfo::of(&self.image.view, loaded.node(self.image.reader, entry.inode)?);
                let path = join(&path, entry.name);
                let info = of().map_err(|error| self.image.refused(&path, error))?;
                if info.node.kind() == Kind::Directory {
                    stack.push((join(&shown, entry.name), path.clone(), entry.inode));
                }
                rows.push((entry.name.to_owned(), path, info));
            }
            stack[first..].reverse();
            self.head(&shown)?;
            self.rows(&rows)?;
        }
        Ok(())
    }
}
