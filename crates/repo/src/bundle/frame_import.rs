//! One frame of a bundle becomes objects, or an image.

use std::io::Read;
use std::path::Path;

use libcomposefs_delta::{DecodeError, FrameInfo};
use libcomposefs_store::{Batch, Error};

use super::frame_decoder::{FrameDecoder, FrameError};
use super::import::{broken, not_its_digest};
use crate::import::Incoming;
use crate::{Repository, RepositoryError};

/// A frame whose compressed bytes come next.
pub(super) struct FrameImport<'a> {
    pub(super) repository: &'a Repository,
    pub(super) frame: &'a FrameInfo,
    /// Offset of the compressed bytes in the bundle.
    pub(super) at: u64,
    pub(super) source: &'a Path,
}

impl FrameImport<'_> {
    /// Stores the objects of the frame.
    pub(super) fn store(&self, input: &mut dyn Read, batch: &Batch<'_>) -> Result<(), RepositoryError> {
        let decoder = FrameDecoder::new(self.repository, self.frame);
        decoder.store(input, batch, &|_| true).map_err(|error| self.failed(error))
    }

    /// Reads the image that the frame has.
    pub(super) fn image(&self, input: &mut dyn Read) -> Result<Incoming, RepositoryError> {
        let Some((digest, _)) = self.frame.objects.first() else {
            return Err(RepositoryError::Bundle {
                offset: self.at,
                rule: "the frame of an image has no object".into(),
            });
        };
        let contents = FrameDecoder::new(self.repository, self.frame).contents(input);
        let bytes = contents.map_err(|error| self.failed(error))?.pop().unwrap_or_default();
        let wrong = |source| RepositoryError::Image { digest: Box::new(*digest), source };
        Incoming::read(&bytes, *digest).map_err(wrong)
    }

    fn failed(&self, error: FrameError) -> RepositoryError {
        let offset = self.at;
        match error {
            FrameError::Input(error) => broken(error, offset, self.source),
            FrameError::NoBase { digest } => {
                let rule = format!(
                    "it needs object {digest}, which this repository lacks: import the image that the bundle was \
                     made for first, or export again without --have"
                );
                RepositoryError::Bundle { offset, rule }
            }
            FrameError::Base { digest, source } => {
                let rule = format!("object {digest}, which it needs, cannot be read: {source}");
                RepositoryError::Bundle { offset, rule }
            }
            FrameError::DamagedBase(error) => RepositoryError::Object(error),
            FrameError::Frame(DecodeError::Output(error)) => {
                Error::Io { step: "read", path: self.source.to_owned(), source: error }.into()
            }
            FrameError::Frame(error) => RepositoryError::Bundle { offset, rule: error.to_string() },
            FrameError::Content { digest } => not_its_digest(offset, &digest),
            FrameError::Store(error) => error.into(),
        }
    }
}
