//! `composefs ls`: lists names in an image.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

use libcomposefs_image::erofs::read::{Child, LastLink, LoadedImage, ReadError, View, ViewNode};
use libcomposefs_image::tree::{InodeId, Kind};

use crate::image_file::ImageFile;
use crate::inspect::failures::Failures;
use crate::inspect::inode_info::InodeInfo;
use crate::inspect::listing::LineFormat;
use crate::inspect::names::NameArgs;
use crate::inspect::output::ListOutput;
use crate::inspect::path::{PATHS, in_tree, join, refused, resolve};
use crate::inspect::size::SizeFormat;

/// List a directory of an image, or a file in it.
///
/// Entries are in byte order, one per line. The long format has mode, links, numeric owner and group, size (or device
/// number), time in UTC, name, and the target of a symlink.
#[derive(clap::Args)]
#[command(after_help = format!("{PATHS}\n\n{EXAMPLES}"))]
pub(super) struct LsArgs {
    /// Path of the image file
    image: PathBuf,
    /// Directories and files in the image [default: the root]
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    /// Also print mode, links, owner, size and time
    #[arg(short, long)]
    long: bool,
    /// Also list all subdirectories, recursively
    #[arg(short = 'R', long)]
    recursive: bool,
    /// List directories themselves, not their entries
    #[arg(short, long, conflicts_with = "recursive")]
    directory: bool,
    /// Print sizes with units, such as 1.2M
    #[arg(short = 'H', long)]
    human: bool,
    #[command(flatten)]
    names: NameArgs,
    /// Print a JSON array with an object for each entry, with full paths
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs ls rootfs.img
  composefs ls -l rootfs.img /usr/bin
  composefs ls -lRH rootfs.img /etc
  composefs ls --json rootfs.img /usr/lib | jq -r '.[] | select(.content == \"object\") | .path'

Exit status: 0 if everything was listed, 1 if something was not, 2 for a usage error.";

/// Runs the command and returns its exit status.
pub(super) fn run(args: &LsArgs) -> ExitCode {
    let mut failures = Failures::default();
    let out = args.names.out();
    let done = list(args, &mut failures, out);
    failures.status(done)
}

pub(super) fn list(args: &LsArgs, failures: &mut Failures, out: impl Write) -> anyhow::Result<()> {
    let image = ImageFile::read(&args.image)?;
    let reader = image.reader()?;
    let view = View::new(&reader);
    let root = OsString::from_vec(b"/".to_vec());
    let paths = if args.paths.is_empty() { std::slice::from_ref(&root) } else { &args.paths };
    let format = LineFormat {
        long: args.long,
        names: args.names.names(),
        sizes: SizeFormat::human(args.human),
        line_end: args.names.line_end(),
    };
    let mut directories = Vec::new();
    let mut files = Vec::new();
    for path in paths {
        failures.pass(look(args, &view, path.as_bytes(), &mut files, &mut directories))?;
    }
    let mut lister = Lister { args, view, format, out: ListOutput::new(args.json, out), is_first: true };
    lister.rows(&files)?;
    lister.is_first = files.is_empty();
    let has_heads = args.recursive || paths.len() > 1;
    // Loading the tree detects cycles of directories, which a listing of one directory need not do.
    let loaded = if args.recursive { Some(image.load(&reader, &[])?) } else { None };
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
    view: &View<'_, 'a>,
    path: &[u8],
    files: &mut Vec<ListedEntry<'a>>,
    directories: &mut Vec<ListedDirectory>,
) -> anyhow::Result<()> {
    // As in ls(1): a symlink to a directory is followed, except if the line describes the symlink itself.
    let last = if args.long || args.directory { LastLink::Keep } else { LastLink::Follow };
    let found = match resolve(&args.image, view, path, last) {
        Err(_) if last == LastLink::Follow => resolve(&args.image, view, path, LastLink::Keep)?,
        found => found?,
    };
    if found.node.kind() == Kind::Directory && !args.directory {
        directories.push((path.to_owned(), found.path, found.node));
    } else {
        let own = resolve(&args.image, view, path, LastLink::Keep)?;
        let info = InodeInfo::of(view, own.node).map_err(|error| refused(&args.image, &own.path, error))?;
        files.push((path.to_owned(), own.path, info));
    }
    Ok(())
}

struct Lister<'r, 'a, W: Write> {
    args: &'r LsArgs,
    view: View<'r, 'a>,
    format: LineFormat,
    out: ListOutput<W>,
    is_first: bool,
}

impl<'a, W: Write> Lister<'_, 'a, W> {
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
        let view = self.view;
        let children = || -> Result<Vec<ListedEntry<'a>>, ReadError> {
            let child = |child: Result<_, ReadError>| {
                let Child { name, node } = child?;
                Ok((name.to_owned(), join(path, name), InodeInfo::of(&view, node)?))
            };
            view.children(&node)?.map(child).collect()
        };
        let rows = children().map_err(|error| refused(&self.args.image, path, error))?;
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
                let of = || InodeInfo::of(&self.view, loaded.node(self.view.reader(), entry.inode)?);
                let path = join(&path, entry.name);
                let info = of().map_err(|error| refused(&self.args.image, &path, error))?;
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
