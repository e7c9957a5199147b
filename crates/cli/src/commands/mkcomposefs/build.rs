//! The work itself: source to tree, tree to image, image to its place.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};
use composefs_image::dump::{self, Lines};
use composefs_image::erofs::{Image, WriteError};
use composefs_image::tree::Tree;
use composefs_image::verity::DigestWriter;

use super::dump_file;
use super::options::Request;

/// A tree, and how to tell where in the source an inode of it comes from.
struct Source {
    tree: Tree,
    lines: Option<Lines>,
}

/// Does what was asked for.
pub(super) fn build(request: &Request) -> anyhow::Result<()> {
    if request.image.as_deref() == Some(Path::new("-")) && io::stdout().is_terminal() {
        bail!("stdout is a tty.  Refusing to use it");
    }
    let source = read_source(request)?;
    let image = Image::plan(&source.tree, request.versions).map_err(|error| cannot_write(request, &source, &error))?;
    todo(request, &image)
}

fn todo(request: &Request, image: &Image<'_>) -> anyhow::Result<()> {
    let mut out = DigestWriter::new(request.algorithm(), BufWriter::new(Vec::new()));
    image.write(&mut out).context("cannot write file")?;
    println!("{}", out.finish().0);
    Ok(())
}

fn read_source(request: &Request) -> anyhow::Result<Source> {
    if request.from_file {
        let strict = std::env::var_os("CFS_PARSE_STRICT").is_some();
        let options = dump::Options { algorithm: request.algorithm(), strict };
        let parsed = dump_file::read(&request.source, options)?;
        return Ok(Source { tree: parsed.tree, lines: Some(parsed.lines) });
    }
    bail!("not yet")
}

/// An error of the image writer, with the place in the source that it is about.
fn cannot_write(request: &Request, source: &Source, error: &WriteError) -> anyhow::Error {
    let name = request.source.display();
    match (error.inode(), &source.lines) {
        (None, _) => anyhow::anyhow!("cannot write file: {error}"),
        (Some(inode), None) => {
            let path = source.tree.path_of(inode);
            anyhow::anyhow!("{name}{}: cannot write file: {error}", String::from_utf8_lossy(&path))
        }
        (Some(inode), Some(lines)) => {
            let field = match error {
                WriteError::FileTooLarge { .. } => dump::Field::Size,
                _ => dump::Field::Xattr(0),
            };
            anyhow::anyhow!("{name}: line {}, {field}: cannot write file: {error}", lines.line_of(inode))
        }
    }
}
