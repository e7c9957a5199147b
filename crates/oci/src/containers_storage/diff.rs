//! The files of a layer: below its directory, by their names or by their SHA-256.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use libcomposefs_sys::resolve_beneath::open_beneath;
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use super::composefs::{self, ListedContent};
use crate::tar_split::{ContentOpener, ContentOrigin, ContentProblem, TarSplitFile};

/// Smaller files are not cloned: a clone takes a block at least, and few may be open at a time.
const CLONE_MIN: u64 = 64 << 10;

/// The files of a layer.
#[derive(Debug)]
pub(super) struct DiffFiles {
    /// The directory `diff`.
    directory: OwnedFd,
    /// The contents in the order of the archive, if they are found by their SHA-256.
    contents: Option<Vec<ListedContent>>,
    file: Option<Arc<OwnedFd>>,
}

impl DiffFiles {
    pub(super) fn new(directory: OwnedFd, contents: Option<Vec<ListedContent>>) -> Self {
        Self { directory, contents, file: None }
    }

    /// Returns the path of a content below the directory.
    fn path(&self, number: u64, file: &TarSplitFile) -> Option<Vec<u8>> {
        match &self.contents {
            // `open_beneath` refuses what leads out.
            None => Some(file.name.iter().copied().skip_while(|byte| *byte == b'/').collect()),
            Some(contents) => {
                let content = contents.get(usize::try_from(number).ok()?)?;
                (content.size == file.size).then(|| composefs::path(&content.digest))
            }
        }
    }
}

impl ContentOpener for DiffFiles {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // A file may be open in a queue for cloning: `pread` is used there, so the offset is free.
        match &self.file {
            Some(file) => Ok(rustix::io::read(file, buffer)?),
            None => Ok(0),
        }
    }

    fn open(&mut self, number: u64, file: &TarSplitFile) -> Result<ContentOrigin, ContentProblem> {
        let path = self.path(number, file).ok_or(ContentProblem::Missing)?;
        let opened = match open_beneath(self.directory.as_fd(), &path) {
            Ok(opened) => opened,
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(ContentProblem::Missing),
            Err(errno) => return Err(ContentProblem::Read(errno.into())),
        };
        let stat = fstat(&opened).map_err(|errno| ContentProblem::Read(errno.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(ContentProblem::Missing);
        }
        let opened = Arc::new(opened);
        let origin =
            if file.size >= CLONE_MIN { ContentOrigin::File(Arc::clone(&opened)) } else { ContentOrigin::Unknown };
        self.file = Some(opened);
        Ok(origin)
    }
}

/// Reads a table of contents, which may be compressed.
pub(super) fn plain_toc(bytes: Vec<u8>, limit: u64) -> io::Result<Vec<u8>> {
    if !bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    zstd::stream::read::Decoder::new(&bytes[..])?.take(limit).read_to_end(&mut plain)?;
    Ok(plain)
}

/// Reads the file of tar-split data.
pub(super) fn tar_split(file: OwnedFd, limit: u64) -> impl io::BufRead {
    let plain = flate2::read::MultiGzDecoder::new(io::BufReader::new(File::from(file)));
    io::BufReader::with_capacity(64 << 10, plain.take(limit))
}
