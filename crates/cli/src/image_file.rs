//! Reading image files: their bytes, length and digests.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use libcomposefs_image::erofs::header::HeaderError;
use libcomposefs_image::erofs::read::{Defect, HEAD_LEN, ImageReader, LoadedImage, ReadError, load, said_len};
use libcomposefs_image::verity::{self, Hasher};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_sys::copy::READ_SIZE;
use libcomposefs_sys::head_first::{self, At, Beginning};
use libcomposefs_sys::input::{self, OpenError};
use libcomposefs_sys::verity::{Measurement, measure};
use rustix::fs::{FileType, MemfdFlags, memfd_create};

/// An image file, read into memory. Only as many bytes are kept as the image header declares, since the file may
/// continue with a hole of terabytes. The file is not memory-mapped: truncation or an I/O error during use would kill
/// the process with SIGBUS, without a message.
#[derive(Debug)]
pub(crate) struct ImageFile {
    path: PathBuf,
    read: Beginning,
    file: File,
    /// Offset at which reading ended; `None` if the file cannot be seeked.
    end: Option<u64>,
    /// Length of the file, as far as it is known: for a pipe it is known only once all of it was read.
    len: Cell<u64>,
    /// True once a pipe has been read to its end.
    is_used_up: Cell<bool>,
}

impl ImageFile {
    /// Reads an image file.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let opened = input::open(path);
        let mut file = opened.map_err(|error| match error {
            OpenError::Io(error) => anyhow::Error::new(error).context(format!("Failed to open '{}'", path.display())),
            OpenError::NotAFile(FileType::Directory) => {
                anyhow::anyhow!("Failed to load '{}': Is a directory", path.display())
            }
            OpenError::NotAFile(FileType::Socket) => {
                anyhow::anyhow!("Failed to open '{}': No such device or address: it is a socket", path.display())
            }
            other => anyhow::anyhow!("Failed to load '{}': Invalid argument: {other}", path.display()),
        })?;
        Self::read_rest(&mut file, path, Vec::new())
    }

    /// Returns an image that was made in memory.
    pub(crate) fn in_memory(path: &Path, bytes: Vec<u8>) -> anyhow::Result<Self> {
        let cannot_keep = || format!("cannot keep the image of {} in memory", path.display());
        let file = memfd_create("composefs-image", MemfdFlags::CLOEXEC).with_context(cannot_keep)?;
        let mut file = File::from(file);
        file.write_all(&bytes).with_context(cannot_keep)?;
        Self::read_rest(&mut file, path, bytes)
    }

    /// Reads an image from an open file. `bytes` holds what was already read from its start.
    pub(crate) fn read_rest(file: &mut File, path: &Path, bytes: Vec<u8>) -> anyhow::Result<Self> {
        let cannot_load = || format!("Failed to load '{}'", path.display());
        let metadata = file.metadata().with_context(cannot_load)?;
        // The metadata of a pipe reports length 0; its bytes are counted as they are read.
        let rest = match metadata.is_file() {
            true => Some(metadata.len().saturating_sub(file.stream_position().with_context(cannot_load)?)),
            false => None,
        };
        let before = bytes.len() as u64;
        let read =
            head_first::read(file, bytes, rest, HEAD_LEN, |head| said_len(head).ok()).with_context(cannot_load)?;
        let in_memory = (read.bytes.len() + read.excess.len()) as u64;
        Ok(Self {
            path: path.to_owned(),
            end: file.stream_position().ok(),
            len: Cell::new(rest.map_or(0, |rest| before.saturating_add(rest)).max(in_memory)),
            file: file.try_clone().with_context(cannot_load)?,
            is_used_up: Cell::new(false),
            read,
        })
    }

    /// Returns the bytes of the image. The file may contain more.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.read.bytes
    }

    /// Returns the length of the file. For a pipe with data after the image it is known only after its digest was
    /// computed.
    pub(crate) fn file_len(&self) -> u64 {
        self.len.get()
    }

    /// Returns the open file if it is a regular file, which can be read again from its start.
    pub(crate) fn regular(&self) -> Option<BorrowedFd<'_>> {
        self.file.metadata().is_ok_and(|metadata| metadata.is_file()).then(|| self.file.as_fd())
    }

    /// Measures the digest that the kernel verifies reads with. Returns `None` if the kernel does not verify them, and
    /// `Some(None)` if it uses an algorithm that images do not have.
    pub(crate) fn kernel_digest(&self) -> anyhow::Result<Option<Option<Digest>>> {
        let measured = self.regular().map(|file| measure(file).context("cannot measure it")).transpose()?;
        Ok(match measured {
            Some(Measurement::Digest(found)) => {
                let number = u8::try_from(found.algorithm).unwrap_or_default();
                let algorithm = Algorithm::from_kernel_number(number);
                Some(algorithm.and_then(|algorithm| Digest::new(algorithm, &found.digest)))
            }
            Some(Measurement::NotEnabled | Measurement::Unsupported | Measurement::Refused(_)) | None => None,
        })
    }

    /// Computes the fs-verity digest of the whole file with one algorithm.
    pub(crate) fn digest(&self, algorithm: Algorithm) -> anyhow::Result<Digest> {
        let mut hashers = [Hasher::new(algorithm)];
        match self.hash_all(&mut hashers)? {
            true => Ok(hashers.map(Hasher::finish)[0]),
            false => Ok(verity::digest(algorithm, self.bytes())),
        }
    }

    /// Computes the fs-verity digests of the whole file with all algorithms.
    pub(crate) fn digests(&self) -> anyhow::Result<Vec<Digest>> {
        let mut hashers = Algorithm::ALL.map(Hasher::new);
        match self.hash_all(&mut hashers)? {
            true => Ok(hashers.map(Hasher::finish).to_vec()),
            false => Ok(Algorithm::ALL.map(|algorithm| verity::digest(algorithm, self.bytes())).to_vec()),
        }
    }

    /// Hashes the whole file if it has more bytes than the image; returns false if it has not.
    fn hash_all(&self, hashers: &mut [Hasher]) -> anyhow::Result<bool> {
        let Beginning { bytes, excess } = &self.read;
        if excess.is_empty() && self.len.get() <= bytes.len() as u64 {
            return Ok(false);
        }
        hashers.iter_mut().for_each(|hasher| [bytes, excess].into_iter().for_each(|piece| hasher.update(piece)));
        let mut at = self.end.map(|end| At::new(self.file.as_fd(), end));
        if at.is_none() && self.is_used_up.replace(true) {
            bail!("cannot read {} again: it is a pipe", self.path.display());
        }
        let (mut len, mut piece) = ((bytes.len() + excess.len()) as u64, Vec::new());
        loop {
            piece.clear();
            let read = match &mut at {
                Some(at) => at.take(READ_SIZE as u64).read_to_end(&mut piece),
                None => (&self.file).take(READ_SIZE as u64).read_to_end(&mut piece),
            };
            match read.with_context(|| format!("cannot read {}", self.path.display()))? {
                0 => break,
                read => len += read as u64,
            }
            hashers.iter_mut().for_each(|hasher| hasher.update(&piece));
        }
        self.len.set(len);
        Ok(true)
    }

    /// Returns a reader of the image.
    pub(crate) fn reader(&self) -> anyhow::Result<ImageReader<'_>> {
        ImageReader::new(self.bytes()).map_err(|error| self.refused(&error))
    }

    /// Loads the tree of the image. If `only` is not empty, loads only those entries of the root directory.
    pub(crate) fn load(&self, reader: &ImageReader<'_>, only: &[&[u8]]) -> anyhow::Result<LoadedImage> {
        load(reader, only).map_err(|error| self.refused(&error))
    }

    /// Builds an error that starts with the C tools' message and ends with the details.
    fn refused(&self, error: &ReadError) -> anyhow::Error {
        let errno = match error.defect {
            Defect::Header(HeaderError::Version { .. }) => "Operation not supported",
            _ => "Invalid argument",
        };
        anyhow::anyhow!("Failed to load '{}': {errno}: {error}", self.path.display())
    }
}
