//! Images as files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use composefs_image::erofs::header::HeaderError;
use composefs_image::erofs::read::{Defect, Loaded, ReadError, Reader, load};

/// An image, read into memory. It is not mapped: a file that is cut off or damaged while it is looked at would end the
/// program without a word.
#[derive(Debug)]
pub(crate) struct ImageFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl ImageFile {
    /// Reads an image file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut file = File::open(path).with_context(|| format!("Failed to open '{}'", path.display()))?;
        Self::read_rest(&mut file, path, Vec::new())
    }

    /// Reads an image from an open file, whose first bytes may be in `bytes` already.
    pub(crate) fn read_rest(file: &mut File, path: &Path, mut bytes: Vec<u8>) -> anyhow::Result<Self> {
        let cannot_load = || format!("Failed to load '{}'", path.display());
        // A pipe says 0; its bytes are counted as they come.
        let len = file.metadata().with_context(cannot_load)?.len();
        let rest = usize::try_from(len).unwrap_or(usize::MAX).saturating_sub(bytes.len());
        bytes.try_reserve_exact(rest).with_context(cannot_load)?;
        file.read_to_end(&mut bytes).with_context(cannot_load)?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// The file's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The image in it.
    pub(crate) fn reader(&self) -> anyhow::Result<Reader<'_>> {
        Reader::new(&self.bytes).map_err(|error| self.refused(&error))
    }

    /// Its tree, or of the root's entries only those in `only`.
    pub(crate) fn load(&self, reader: &Reader<'_>, only: &[&[u8]]) -> anyhow::Result<Loaded> {
        load(reader, only).map_err(|error| self.refused(&error))
    }

    /// What is wrong, behind the words of the C tools.
    fn refused(&self, error: &ReadError) -> anyhow::Error {
        let errno = match error.defect {
            Defect::Header(HeaderError::Version { .. }) => "Operation not supported",
            _ => "Invalid argument",
        };
        anyhow::anyhow!("Failed to load '{}': {errno}: {error}", self.path.display())
    }
}
