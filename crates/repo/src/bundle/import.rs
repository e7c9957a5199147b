//! Bundles are imported: objects are stored as they arrive and compared with their digests; images follow at the end.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use libcomposefs_content::Progress;
use libcomposefs_image::verity::Hasher;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_sys::copy::READ_SIZE;
use libcomposefs_sys::sparse::is_zero;

use super::format::{FormatError, Record};
use super::record_reader::RecordReader;
use super::typed_record;
use crate::import::{ImportOptions, Incoming};
use crate::{
    Committed, PublishedImage, RefName, Repository, RepositoryError, StoredSignature, StreamTag, SyncedObjects,
    Transaction,
};
use libcomposefs_store::Error;
use libcomposefs_store::ImageBytes;
use libcomposefs_store::{Batch, Summary};

/// Number of bytes up to the end of the version.
const START: usize = 20;
/// Contents up to this size are read into memory.
pub(super) const WHOLE_MAX: u64 = 1 << 20;
/// The result of importing a bundle.
#[derive(Clone, Debug)]
pub struct ImportedBundle {
    /// Images of the bundle.
    pub images: Vec<PublishedImage>,
    /// Counts of the objects of the bundle.
    pub objects: Summary,
}

/// A bundle that was read: its objects are on disk, and nothing of it has a name.
#[derive(Debug)]
#[must_use = "nothing of the bundle is published yet"]
pub struct ReadBundle<'r> {
    pub(super) transaction: Transaction<'r>,
    pub(super) source: PathBuf,
    pub(super) images: Vec<(Incoming, Vec<RefName>)>,
    pub(super) documents: Vec<(Vec<u8>, Vec<StreamTag>)>,
    pub(super) signatures: Vec<(Digest, StoredSignature)>,
}

impl<'r> ReadBundle<'r> {
    /// Returns the number of images, without the OCI images.
    #[must_use]
    pub fn image_count(&self) -> usize {
        self.images.len()
    }

    /// Returns the digests of the images, without the OCI images.
    pub(crate) fn image_digests(&self) -> Vec<Digest> {
        self.images.iter().filter_map(|(incoming, _)| incoming.image.map(|image| image.digest)).collect()
    }

    /// Returns the descriptions of OCI images, with their names in the bundle. Their objects are in the repository,
    /// unless the receiver was to have them, and are protected from gc as long as this lives.
    #[must_use]
    pub fn documents(&self) -> &[(Vec<u8>, Vec<StreamTag>)] {
        &self.documents
    }

    /// Adds the signatures that the bundle has of its images to the repository, where a policy finds them. Those of
    /// other images are left out. `oci` are the composefs images that the caller has made of the OCI images.
    ///
    /// # Errors
    ///
    /// If a signature cannot be written, or is too large.
    pub fn add_signatures(&self, oci: &[Digest]) -> Result<(), RepositoryError> {
        let images = self.image_digests();
        for (digest, signature) in
            self.signatures.iter().filter(|(digest, _)| images.contains(digest) || oci.contains(digest))
        {
            self.transaction.repository().add_signature(digest, signature)?;
        }
        Ok(())
    }

    /// Stores the images, which are not published: another bundle can have them and their objects as bases as long as
    /// the result lives.
    pub(crate) fn store_images(self, options: &ImportOptions<'_>) -> Result<SyncedObjects<'r>, RepositoryError> {
        let Self { mut transaction, source, images, .. } = self;
        for (incoming, _) in &images {
            transaction.import_image(incoming, &source, Vec::new(), options)?;
        }
        transaction.sync()
    }

    /// Publishes the images. `names` returns the names for an image, given its number and the names in the bundle. OCI
    /// images are left to the caller.
    ///
    /// # Errors
    ///
    /// If an image is wrong, or needs an object that neither the bundle nor the repository has. None is published then.
    pub fn publish(
        self,
        names: &dyn Fn(usize, Vec<RefName>) -> Vec<RefName>,
        options: &ImportOptions<'_>,
    ) -> Result<ImportedBundle, RepositoryError> {
        let Self { mut transaction, source, images, .. } = self;
        for (number, (incoming, own)) in images.into_iter().enumerate() {
            transaction.import_image(&incoming, &source, names(number, own), options)?;
        }
        let Committed { images, objects } = transaction.commit()?;
        Ok(ImportedBundle { images, objects })
    }
}

impl Repository {
    /// Reads a bundle on one thread: [`read_bundle_on`](Self::read_bundle_on).
    ///
    /// # Errors
    ///
    /// If the bundle is damaged, or an object cannot be stored.
    pub fn read_bundle(
        &self,
        input: impl Read,
        source: &Path,
        progress: &dyn Progress,
    ) -> Result<ReadBundle<'_>, RepositoryError> {
        self.read_bundle_on(NonZeroUsize::MIN, input, source, progress)
    }

    /// Reads a bundle, and stores its objects. Nothing of it is published. The objects of a bundle of version 2 are
    /// unpacked on `threads` threads; the error does not depend on their number.
    ///
    /// # Errors
    ///
    /// If the bundle is damaged, or an object cannot be stored.
    pub fn read_bundle_on(
        &self,
        threads: NonZeroUsize,
        mut input: impl Read,
        source: &Path,
        progress: &dyn Progress,
    ) -> Result<ReadBundle<'_>, RepositoryError> {
        let mut start = Vec::new();
        let read = (&mut input).take(START as u64).read_to_end(&mut start);
        read.map_err(|error| broken(error, 0, source))?;
        let is_typed = start.get(START - 4..) == Some(&typed_record::VERSION.to_le_bytes()[..]);
        let input = io::Cursor::new(start).chain(input);
        match is_typed {
            true => self.read_frames(threads, input, source, progress),
            false => self.read_whole(input, source, progress),
        }
    }

    pub(super) fn expect_algorithm(&self, found: Algorithm, source: &Path) -> Result<(), RepositoryError> {
        if found == self.algorithm() {
            return Ok(());
        }
        Err(RepositoryError::Algorithm {
            path: source.to_owned(),
            found,
            repository: self.dir.path.clone(),
            expected: self.algorithm(),
        })
    }

    /// Reads a bundle of version 1, and stores its objects. Nothing of it is published.
    fn read_whole(
        &self,
        input: impl Read,
        source: &Path,
        progress: &dyn Progress,
    ) -> Result<ReadBundle<'_>, RepositoryError> {
        let mut reader = RecordReader::new(input).map_err(|error| wrong(error, source))?;
        self.expect_algorithm(reader.algorithm(), source)?;
        let mut transaction = self.transaction()?;
        let (mut images, mut documents) = (Vec::new(), Vec::new());
        while let Some(record) = reader.next_record().map_err(|error| wrong(error, source))? {
            let at = reader.offset();
            match record {
                Record::Object { digest, len } => {
                    take_object(&mut reader, transaction.batch(), &digest, len, source)?;
                    progress.bytes(len);
                }
                Record::Image { digest, len, names } => {
                    images.push((self.take_image(&mut reader, &digest, len, at, source)?, names));
                }
                Record::Oci { names, .. } => {
                    let mut text = Vec::new();
                    reader.read_to_end(&mut text).map_err(|error| broken(error, at, source))?;
                    documents.push((text, names));
                }
            }
        }
        if !documents.is_empty() {
            // The importer of the documents reads the objects by their names.
            transaction = transaction.sync()?.again();
        }
        Ok(ReadBundle { transaction, source: source.to_owned(), images, documents, signatures: Vec::new() })
    }

    /// Imports a bundle without OCI images: [`read_bundle`](Self::read_bundle) and [`publish`](ReadBundle::publish).
    ///
    /// # Errors
    ///
    /// If the bundle is damaged, has an OCI image, or needs an object that neither it nor the repository has. Nothing
    /// of it is published then.
    pub fn import_bundle(
        &self,
        input: impl Read,
        source: &Path,
        names: &dyn Fn(usize, Vec<RefName>) -> Vec<RefName>,
        options: &ImportOptions<'_>,
    ) -> Result<ImportedBundle, RepositoryError> {
        let bundle = self.read_bundle_on(options.threads, input, source, options.progress)?;
        if !bundle.documents.is_empty() {
            let rule = "it has OCI images, which are imported in another way".into();
            return Err(RepositoryError::Bundle { offset: 0, rule });
        }
        bundle.publish(names, options)
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

pub(super) fn not_its_digest(offset: u64, digest: &Digest) -> RepositoryError {
    RepositoryError::Bundle { offset, rule: format!("the content there does not have its digest {digest}") }
}

pub(super) fn broken(error: io::Error, offset: u64, source: &Path) -> RepositoryError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => RepositoryError::Bundle { offset, rule: "it ends in this content".into() },
        _ => Error::Io { step: "read", path: source.to_owned(), source: error }.into(),
    }
}

pub(super) fn wrong(error: FormatError, source: &Path) -> RepositoryError {
    match error {
        FormatError::Rule(offset, rule) => RepositoryError::Bundle { offset, rule },
        FormatError::Io(error) => Error::Io { step: "read", path: source.to_owned(), source: error }.into(),
    }
}
