//! A frame becomes objects of a repository, each of which is compared with its digest.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use libcomposefs_delta::{DecodeError, FrameInfo, ReadAt, decode};
use libcomposefs_image::Digest;
use libcomposefs_image::verity::Hasher;
use libcomposefs_store::{Batch, Error, Object, ObjectError};
use libcomposefs_sys::sparse::is_zero;
use rustix::fs::fstat;

use super::frame_contents::FrameContents;
use super::import::WHOLE_MAX;
use crate::Repository;

/// A frame, and the repository that has its bases.
#[derive(Clone, Copy, Debug)]
pub struct FrameDecoder<'a> {
    repository: &'a Repository,
    frame: &'a FrameInfo,
}

/// Reason why a frame gives no objects.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The compressed bytes cannot be read.
    #[error("read the compressed bytes of a frame")]
    Input(#[source] io::Error),
    /// The repository lacks a base.
    #[error("the frame needs object {digest}, which this repository lacks")]
    NoBase {
        /// Digest of the base.
        digest: Box<Digest>,
    },
    /// A base cannot be read.
    #[error("object {digest}, which the frame needs, cannot be read: {source}")]
    Base {
        /// Digest of the base.
        digest: Box<Digest>,
        /// Error of the kernel.
        source: io::Error,
    },
    /// A base does not have its digest.
    #[error(transparent)]
    DamagedBase(ObjectError),
    /// The frame breaks a rule of its format.
    #[error(transparent)]
    Frame(DecodeError),
    /// The frame gives another content than it declares.
    #[error("the frame does not give the content with the digest {digest}")]
    Content {
        /// Digest that was declared.
        digest: Box<Digest>,
    },
    /// The objects cannot be stored.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Repository {
    pub(super) fn open_base(&self, digest: &Digest) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(File::from(self.objects().try_open(digest)?)))
    }
}

impl<'a> FrameDecoder<'a> {
    /// Makes a decoder of a frame.
    #[must_use]
    pub fn new(repository: &'a Repository, frame: &'a FrameInfo) -> Self {
        Self { repository, frame }
    }

    /// Stores the objects of the frame that are wanted. `input` has the compressed bytes.
    ///
    /// # Errors
    ///
    /// [`FrameError`]. Objects of the frame may or may not be in the batch then, each with its digest.
    pub fn store(
        &self,
        input: &mut dyn Read,
        batch: &Batch<'_>,
        is_wanted: &dyn Fn(&Digest) -> bool,
    ) -> Result<(), FrameError> {
        if let [(digest, size)] = &self.frame.objects[..]
            && *size > WHOLE_MAX
        {
            return self.store_large(input, batch, digest);
        }
        for (content, (digest, _)) in self.contents_if(input, is_wanted)?.iter().zip(&self.frame.objects) {
            if is_wanted(digest) {
                batch.put_hashed(*digest, content)?;
            }
        }
        Ok(())
    }

    /// Stores a large object while it is decoded.
    fn store_large(&self, input: &mut dyn Read, batch: &Batch<'_>, digest: &Digest) -> Result<(), FrameError> {
        let mut failed = None;
        let put = batch.put_written(|out| {
            let mut hasher = Hasher::new(digest.algorithm());
            let result = self.decode(input, &mut |_, piece| {
                if is_zero(piece) {
                    hasher.update_zeros(piece.len() as u64);
                    out.skip(piece.len() as u64);
                    return Ok(());
                }
                hasher.update(piece);
                out.write_all(piece)
            });
            let found = hasher.finish();
            match result {
                Err(DecodeError::Output(error)) => return Err(error),
                Err(error) => failed = Some(self.failed(error)),
                Ok(()) if found != *digest => failed = Some(self.wrong_content(digest)),
                Ok(()) => return Ok(found),
            }
            Err(io::ErrorKind::Other.into())
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(put.map(drop)?),
        }
    }

    /// Returns the contents of the frame, which have their digests. Memory grows with what is decoded.
    ///
    /// # Errors
    ///
    /// [`FrameError`]
    pub fn contents(&self, input: &mut dyn Read) -> Result<Vec<Vec<u8>>, FrameError> {
        let contents = self.contents_if(input, &|_| true)?;
        Ok(match self.frame.objects.len() {
            1 => vec![contents.into_only()],
            _ => contents.iter().map(<[u8]>::to_vec).collect(),
        })
    }

    /// Returns the contents; those that are not wanted are empty.
    fn contents_if(
        &self,
        input: &mut dyn Read,
        is_wanted: &dyn Fn(&Digest) -> bool,
    ) -> Result<FrameContents, FrameError> {
        let contents = FrameContents::decode(self.frame, input, &mut |digest| self.open_base(digest), is_wanted);
        let contents = contents.map_err(|error| self.failed(error))?;
        for (found, (digest, _)) in contents.digests(self.repository.algorithm()).iter().zip(&self.frame.objects) {
            if found != digest && is_wanted(digest) {
                return Err(self.wrong_content(digest));
            }
        }
        Ok(contents)
    }

    fn open_base(&self, digest: &Digest) -> io::Result<Box<dyn ReadAt>> {
        self.repository.open_base(digest)
    }

    fn decode(
        &self,
        input: &mut dyn Read,
        sink: &mut dyn FnMut(usize, &[u8]) -> io::Result<()>,
    ) -> Result<(), DecodeError> {
        decode(self.frame, input, &mut |digest| self.open_base(digest), sink)
    }

    fn failed(&self, error: DecodeError) -> FrameError {
        match error {
            DecodeError::Input(error) => FrameError::Input(error),
            DecodeError::Base { digest, source } if source.kind() == io::ErrorKind::NotFound => {
                FrameError::NoBase { digest }
            }
            DecodeError::Base { digest, source } => FrameError::Base { digest, source },
            error => self.damaged_base().unwrap_or(FrameError::Frame(error)),
        }
    }

    fn wrong_content(&self, digest: &Digest) -> FrameError {
        self.damaged_base().unwrap_or_else(|| FrameError::Content { digest: Box::new(*digest) })
    }

    /// Tells whether the frame is right and a base is not: contents are wrong either way.
    fn damaged_base(&self) -> Option<FrameError> {
        self.frame.bases.iter().find_map(|(digest, _)| {
            let path = self.repository.objects().path_of(digest);
            let file = self.repository.objects().try_open(digest).ok()?;
            let stat = fstat(file.as_fd()).ok()?;
            Object::new(file, path, &stat).verify(digest).err().map(FrameError::DamagedBase)
        })
    }
}
