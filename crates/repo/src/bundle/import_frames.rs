//! Bundles of version 2 are read: frames become objects, each of which is compared with its digest.

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;

use libcomposefs_content::Progress;
use libcomposefs_delta::FrameInfo;

use super::frame_import::FrameImport;
use super::frame_threads;
use super::import::{ReadBundle, broken, wrong};
use super::signature_record::{BundleSignatures, SIGNATURE};
use super::typed_record::TypedRecord;
use super::typed_record_reader::TypedRecordReader;
use crate::digest_set::DigestSet;
use crate::{Repository, RepositoryError};

impl Repository {
    /// Reads a bundle of version 2, and stores its objects. Nothing of it is published.
    pub(super) fn read_frames(
        &self,
        threads: NonZeroUsize,
        input: impl Read,
        source: &Path,
        progress: &dyn Progress,
    ) -> Result<ReadBundle<'_>, RepositoryError> {
        let mut reader = TypedRecordReader::new(input).map_err(|error| wrong(error, source))?;
        self.expect_algorithm(reader.algorithm(), source)?;
        let mut transaction = self.transaction()?;
        let (mut images, mut documents) = (Vec::new(), Vec::new());
        let mut signatures = BundleSignatures::default();
        let (batch, mut seen) = (transaction.batch(), DigestSet::new(self.algorithm()));
        let store = |frame: &FrameInfo, at, input: &mut dyn Read| {
            FrameImport { repository: self, frame, at, source }.store(input, batch)?;
            progress.bytes(frame.objects.iter().map(|(_, size)| size).sum());
            Ok(())
        };
        frame_threads::run(threads, &store, |queue| {
            while let Some(record) = reader.next_record().map_err(|error| wrong(error, source))? {
                let at = reader.offset();
                match record {
                    TypedRecord::Frame(frame) => {
                        expect_other_bases(&frame, &seen, at)?;
                        for (digest, _) in &frame.objects {
                            seen.insert(digest);
                        }
                        queue.add(frame, at, &mut reader)?;
                    }
                    TypedRecord::Image { frame, names } => {
                        let import = FrameImport { repository: self, frame: &frame, at, source };
                        images.push((import.image(&mut reader)?, names));
                    }
                    TypedRecord::Oci { names, .. } => {
                        let mut text = Vec::new();
                        reader.read_to_end(&mut text).map_err(|error| broken(error, at, source))?;
                        documents.push((text, names));
                    }
                    TypedRecord::Unknown { kind: SIGNATURE, payload } => {
                        let added = signatures.add(self.algorithm(), &payload);
                        added.map_err(|rule| RepositoryError::Bundle { offset: at, rule: rule.into() })?;
                    }
                    TypedRecord::Unknown { .. } => {}
                }
                if queue.has_failed() {
                    break;
                }
            }
            Ok(())
        })?;
        if !documents.is_empty() {
            // The importer of the documents reads the objects by their names.
            transaction = transaction.sync()?.again();
        }
        Ok(ReadBundle { transaction, source: source.to_owned(), images, documents, signatures: signatures.list })
    }
}

/// Refuses a base that the bundle itself has: whether it is in the repository yet would depend on the threads.
fn expect_other_bases(frame: &FrameInfo, seen: &DigestSet, at: u64) -> Result<(), RepositoryError> {
    match frame.bases.iter().find(|(digest, _)| seen.contains(digest)) {
        None => Ok(()),
        Some((digest, _)) => {
            let rule = format!("the base {digest} of the frame there is an object of the bundle itself");
            Err(RepositoryError::Bundle { offset: at, rule })
        }
    }
}
