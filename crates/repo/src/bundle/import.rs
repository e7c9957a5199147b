//! Bundles are imported: objects are stored as they arrive and compared with their digests; images follow at the end.

use std::io::{self, Read, Write};
use std::path::Path;

use libcomposefs_image::Digest;
use libcomposefs_image::verity::Hasher;
use libcomposefs_sys::copy::READ_SIZE;
use libcomposefs_sys::sparse::is_zero;

use super::format::{FormatError, Record, RecordReader};
use crate::import::{ImportOptions, Incoming};
use crate::{Committed, PublishedImage, RefName, Repository, RepositoryError};
use libcomposefs_store::Error;
use libcomposefs_store::ImageBytes;
use libcomposefs_store::{Batch, Summary};

/// Contents up to this size are read into memory.
const WHOLE_MAX: u64 = 1 << 20;
/// The result of importing a bundle.
#[derive(Clone, Debug)]
pub struct ImportedBundle {
    /// Images of the bundle.
    pub images: Vec<PublishedImage>,
    /// Counts of the objects of the bundle.
    pub objects: Summary,
}

impl Repository {
    /// Imports a bundle. `names` returns the names for an image, given its number and the names in the bundle.
    ///
    /// # Errors
    ///
    /// If the bundle is damaged, or needs an object that neither it nor the repository has. Nothing of it is published
    /// then.
    pub fn import_bundle(
        &self,
        input: impl Read,
        source: &Path,
        names: &dyn Fn(usize, Vec<RefName>) -> Vec<RefName>,
        options: &ImportOptions<'_>,
    ) -> Result<ImportedBundle, RepositoryError> {
        let mut reader = RecordReader::new(input).map_err(|error| wrong(error, source))?;
        if reader.algorithm() != self.algorithm() {
            return Err(RepositoryError::Algorithm {
                path: source.to_owned(),
                found: reader.algorithm(),
                repository: self.dir.path.clone(),
                expected: self.algorithm(),
            });
        }
        let mut transaction = self.transaction()?;
        let mut pending = Vec::new();
        while let Some(record) = reader.next_record().map_err(|error| wrong(error, source))? {
            let at = reader.offset();
            match record {
                Record::Object { digest, len } => {
                    take_object(&mut reader, transaction.batch(), &digest, len, source)?;
                    options.progress.bytes(len);
                }
                Record::Image { digest, len, names: own } => {
                    let incoming = self.take_image(&mut reader, &digest, len, at, source)?;
                    pending.push((incoming, names(pending.len(), own)));
                }
            }
        }
        for (incoming, names) in pending {
            transaction.import_image(&incoming, source, names, options)?;
        }
        let Committed { images, objects } = transaction.commit()?;
        Ok(ImportedBundle { images, objects })
    }

    fn take_image<R: Read>(
        &self,
        reader: &mut RecordReader<R>,
        digest: &Digest,
        len: u64,
        at: u64,
        source: &Path,
    ) -> Result<Incoming, RepositoryError> {
        // Memory grows with the bytes that arrive, not with the size that is claimed.
        let image = ImageBytes::read(&mut reader.take(len), None, digest.algorithm());
        let image = image.map_err(|error| broken(error, at, source))?;
        let incoming = Incoming::read(&image.bytes, image.digest)
            .map_err(|source| RepositoryError::Image { digest: Box::new(*digest), source })?;
        match incoming.image {
            Some(image) if image.digest == *digest => Ok(incoming),
            _ => Err(not_its_digest(at, digest)),
        }
    }
}

fn take_object<R: Read>(
    reader: &mut RecordReader<R>,
    batch: &Batch<'_>,
    digest: &Digest,
    len: u64,
    source: &Path,
) -> Result<(), RepositoryError> {
    let at = reader.offset();
    let mut content = reader.take(len);
    let found = if len <= WHOLE_MAX {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|error| broken(error, at, source))?;
        batch.put_bytes(&bytes)?.0
    } else {
        let mut failed = None;
        let put = batch.put_written(|out| {
            let (mut hasher, mut buffer) = (Hasher::new(digest.algorithm()), vec![0; READ_SIZE]);
            loop {
                let read = match content.read(&mut buffer) {
                    Ok(0) => return Ok(hasher.finish()),
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => {
                        failed = Some(broken(error, at, source));
                        return Err(io::ErrorKind::Other.into());
                    }
                };
                if is_zero(&buffer[..read]) {
                    hasher.update_zeros(read as u64);
                    out.skip(read as u64);
                } else {
                    hasher.update(&buffer[..read]);
                    out.write_all(&buffer[..read])?;
                }
            }
        });
        if let Some(error) = failed {
            return Err(error);
        }
        put?.0
    };
    if found == *digest { Ok(()) } else { Err(not_its_digest(at, digest)) }
}

fn not_its_digest(offset: u64, digest: &Digest) -> RepositoryError {
    RepositoryError::Bundle { offset, rule: format!("the content there does not have its digest {digest}") }
}

fn broken(error: io::Error, offset: u64, source: &Path) -> RepositoryError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => RepositoryError::Bundle { offset, rule: "it ends in this content".into() },
        _ => Error::Io { step: "read", path: source.to_owned(), source: error }.into(),
    }
}

fn wrong(error: FormatError, source: &Path) -> RepositoryError {
    match error {
        FormatError::Rule(offset, rule) => RepositoryError::Bundle { offset, rule },
        FormatError::Io(error) => Error::Io { step: "read", path: source.to_owned(), source: error }.into(),
    }
}
