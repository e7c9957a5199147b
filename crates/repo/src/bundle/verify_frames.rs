//! Bundles of version 2 are verified: every frame is decoded and compared with its digests, and nothing is stored.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;

use libcomposefs_content::Progress;
use libcomposefs_delta::{DecodeError, FrameInfo, decode};
use libcomposefs_image::Digest;
use libcomposefs_image::verity::Hasher;

use super::frame_contents::FrameContents;
use super::frame_threads;
use super::import::{WHOLE_MAX, broken, not_its_digest, wrong};
use super::typed_record::TypedRecord;
use super::typed_record_reader::TypedRecordReader;
use crate::{Repository, RepositoryError};

impl Repository {
    /// Verifies a bundle without OCI images, whose bases this repository has, and returns the digests of its images.
    ///
    /// # Errors
    ///
    /// If a frame does not give the contents that it declares, or a base is missing.
    pub(crate) fn verify_frames(
        &self,
        threads: NonZeroUsize,
        input: impl Read,
        source: &Path,
        progress: &dyn Progress,
    ) -> Result<Vec<Digest>, RepositoryError> {
        let mut reader = TypedRecordReader::new(input).map_err(|error| wrong(error, source))?;
        self.expect_algorithm(reader.algorithm(), source)?;
        let verify = |frame: &FrameInfo, at, input: &mut dyn Read| {
            self.verify_frame(frame, input, at, source)?;
            progress.bytes(frame.objects.iter().map(|(_, size)| size).sum());
            Ok(())
        };
        frame_threads::run(threads, &verify, |queue| {
            let mut images = Vec::new();
            while let Some(record) = reader.next_record().map_err(|error| wrong(error, source))? {
                let at = reader.offset();
                let frame = match record {
                    TypedRecord::Frame(frame) => frame,
                    TypedRecord::Image { frame, .. } => {
                        images.extend(frame.objects.iter().map(|(digest, _)| *digest));
                        frame
                    }
                    TypedRecord::Oci { .. } => {
                        let rule = "it has an OCI image, which was not expected".into();
                        return Err(RepositoryError::Bundle { offset: at, rule });
                    }
                    TypedRecord::Unknown { .. } => continue,
                };
                queue.add(frame, at, &mut reader)?;
                if queue.has_failed() {
                    break;
                }
            }
            Ok(images)
        })
    }

    fn verify_frame(
        &self,
        frame: &FrameInfo,
        input: &mut dyn Read,
        at: u64,
        source: &Path,
    ) -> Result<(), RepositoryError> {
        let open = &mut |digest: &Digest| self.open_base(digest);
        let found = match &frame.objects[..] {
            [(digest, size)] if *size > WHOLE_MAX => {
                let mut hasher = Hasher::new(digest.algorithm());
                let decoded = decode(frame, input, open, &mut |_, piece| {
                    hasher.update(piece);
                    Ok(())
                });
                decoded.map(|()| vec![hasher.finish()])
            }
            _ => {
                FrameContents::decode(frame, input, open, &|_| true).map(|contents| contents.digests(self.algorithm()))
            }
        };
        let found = found.map_err(|error| match error {
            DecodeError::Input(error) => broken(error, at, source),
            error => RepositoryError::Bundle { offset: at, rule: error.to_string() },
        })?;
        match found.iter().zip(&frame.objects).find(|(found, (digest, _))| *found != digest) {
            None => Ok(()),
            Some((_, (digest, _))) => Err(not_its_digest(at, digest)),
        }
    }
}
