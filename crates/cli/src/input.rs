//! Input that may be an image, a dump or a directory: detects which it is and loads its tree.
//!
//! Detection ([`open`]) is separate from loading, because a caller may need to read the input twice, or choose options
//! by the other side of a comparison.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use libcomposefs_content::DigestOnly;
use libcomposefs_image::Algorithm;
use libcomposefs_image::dump;
use libcomposefs_image::erofs::header::MAGIC;
use libcomposefs_image::erofs::read::{ImageReader, Order};
use libcomposefs_image::tree::{Timestamp, Tree};
use libcomposefs_scan::{self as scan, scan};
use libcomposefs_sys::input;
use rustix::fs::FileType;

use crate::dump_file;
use crate::image_file::ImageFile;
use crate::scan_progress::ScanProgress;
use crate::source_image::SourceImage;

/// Number of bytes read from a file to detect its kind, and the digest algorithm of a dump.
const HEAD: u64 = 1 << 16;

/// An input whose kind has been detected.
pub(crate) enum Input {
    /// An image, read into memory.
    Image(ImageFile),
    /// A directory, not scanned yet. It may be a mounted image, like any other file system.
    Directory(PathBuf),
    /// A dump of which only the first bytes have been read.
    Dump(DumpText),
    /// An OCI image outside a repository, whose layers have not been read.
    Source(SourceImage),
}

/// A dump file: the bytes read so far, and the file with the rest.
pub(crate) struct DumpText {
    path: PathBuf,
    head: Vec<u8>,
    rest: File,
}

/// Kind of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputKind {
    Image,
    Directory,
    Dump,
    Source,
}

impl InputKind {
    /// Returns true for inputs whose contents are hashed when the tree is loaded, by the algorithm of the options.
    pub(crate) fn is_hashed(self) -> bool {
        matches!(self, InputKind::Directory | InputKind::Source)
    }
}

/// A tree and the kind of input it was loaded from.
#[derive(Debug)]
pub(crate) struct LoadedInput {
    pub(crate) form: InputKind,
    pub(crate) tree: Tree,
    /// Properties of the image apart from its tree; `None` for other inputs.
    pub(crate) facts: Option<ImageProperties>,
}

/// Properties of an image file apart from its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageProperties {
    pub(crate) version: u32,
    pub(crate) flags: u32,
    pub(crate) build_time: Timestamp,
    /// Number of compact inodes.
    pub(crate) compact: usize,
    /// Number of extended inodes.
    pub(crate) extended: usize,
    pub(crate) order: Order,
}

/// Opens a path and detects its kind; `-` is standard input.
pub(crate) fn open(path: &Path) -> anyhow::Result<Input> {
    let name = path.display();
    let mut file = if path == Path::new("-") {
        File::from(rustix::io::dup(io::stdin()).context("cannot read standard input")?)
    } else {
        match input::open_any(path).with_context(|| format!("cannot open {name}"))? {
            (_, FileType::Directory) => return Ok(Input::Directory(path.to_owned())),
            (file, _) => file,
        }
    };
    let mut head = Vec::new();
    (&mut file).take(HEAD).read_to_end(&mut head).with_context(|| format!("cannot read {name}"))?;
    if head.starts_with(&MAGIC.to_le_bytes()) {
        return Ok(Input::Image(ImageFile::read_rest(&mut file, path, head)?));
    }
    match head.first() {
        // The line of the root directory; its slash may be escaped.
        Some(b'/' | b'\\') => Ok(Input::Dump(DumpText { path: path.to_owned(), head, rest: file })),
        Some(_) => bail!(
            "{name} is neither a directory, nor an image (which starts with {:08x}), nor a dump (which starts with the \
             line for /)",
            MAGIC.swap_bytes()
        ),
        None => bail!("{name} is empty: expected an image, a dump or a directory"),
    }
}

impl Input {
    pub(crate) fn form(&self) -> InputKind {
        match self {
            Input::Image(_) => InputKind::Image,
            Input::Directory(_) => InputKind::Directory,
            Input::Dump(_) => InputKind::Dump,
            Input::Source(_) => InputKind::Source,
        }
    }

    /// Loads the tree. The options apply to a directory; an OCI image uses only their algorithm, and so does a dump
    /// that has no digest.
    pub(crate) fn load(self, options: &scan::Options) -> anyhow::Result<LoadedInput> {
        let form = self.form();
        match self {
            Input::Image(file) => {
                let reader = file.reader()?;
                let loaded = file.load(&reader, &[])?;
                let facts = Some(ImageProperties::of(&reader, &loaded));
                Ok(LoadedInput { form, tree: loaded.tree, facts })
            }
            Input::Directory(path) => {
                let progress = ScanProgress::start();
                let options = &scan::Options { follow_root: true, ..options.clone() };
                let tree = scan(&path, options, &DigestOnly(options.algorithm), &progress)?;
                Ok(LoadedInput { form, tree, facts: None })
            }
            Input::Dump(DumpText { path, head, rest }) => {
                let algorithm = dump_algorithm(&head).unwrap_or(options.algorithm);
                let options = dump::Options { algorithm, strict: false };
                let parsed = dump_file::read_from(io::Cursor::new(head).chain(rest), &path, options)?;
                Ok(LoadedInput { form, tree: parsed.tree, facts: None })
            }
            Input::Source(source) => {
                let tree = source.tree(options.algorithm)?;
                Ok(LoadedInput { form, tree, facts: None })
            }
        }
    }
}

impl ImageProperties {
    fn of(reader: &ImageReader<'_>, loaded: &libcomposefs_image::erofs::read::LoadedImage) -> Self {
        let header = reader.header();
        Self {
            version: header.format_version,
            flags: header.flags,
            build_time: reader.superblock().build_time,
            compact: loaded.compact,
            extended: loaded.tree.inode_count() - loaded.compact,
            order: loaded.order,
        }
    }
}

/// Determines the algorithm of a dump by the length of its first digest, the eleventh field of a line.
fn dump_algorithm(head: &[u8]) -> Option<Algorithm> {
    let digests = head.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(10));
    digests.filter(|digest| digest.len() % 2 == 0).find_map(|digest| Algorithm::from_digest_len(digest.len() / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_of_the_first_digest_determines_the_algorithm() {
        let line = |digest: &str| format!("/f 9 100644 1 0 0 0 0.0 - - {digest}\n");
        let root = "/ 0 40755 2 0 0 0 0.0 - - -\n";
        for (text, expected) in [
            (root.to_owned(), None),
            (format!("{root}{}", line(&"a".repeat(64))), Some(Algorithm::Sha256)),
            (format!("{root}{}{}", line("-"), line(&"a".repeat(128))), Some(Algorithm::Sha512)),
            (line(&"a".repeat(127)), None),
        ] {
            assert_eq!(dump_algorithm(text.as_bytes()), expected, "{text}");
        }
    }
}
