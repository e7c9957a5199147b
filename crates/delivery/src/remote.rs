//! A remote with the documents that it has: read with repetitions, and checked.

use libcomposefs_repo::RefName;

use crate::{
    CreateOutcome, DeliveryError, DocumentError, FileEntry, FileName, FileVersion, ImageIndex, NewContent, Patience,
    REF_DOCUMENT_MAX, RefDocument, RemoteStore, Sha256Digest, check_version, version_document,
};
use crate::{ExpectedFile, RefReplacement};

/// A store, and the patience that accesses to it have.
#[derive(Clone)]
pub struct Remote<'s> {
    store: &'s dyn RemoteStore,
    patience: Patience,
}

/// A ref of a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRef {
    /// The document.
    pub document: RefDocument,
    /// The document as it was read.
    pub text: Vec<u8>,
    /// Version of the document.
    pub version: Option<FileVersion>,
}

impl<'s> Remote<'s> {
    /// Makes a remote of a store.
    #[must_use]
    pub fn new(store: &'s dyn RemoteStore, patience: Patience) -> Self {
        Self { store, patience }
    }

    /// Returns the store.
    #[must_use]
    pub fn store(&self) -> &'s dyn RemoteStore {
        self.store
    }

    /// Returns the patience of accesses.
    #[must_use]
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Returns the location, for messages.
    #[must_use]
    pub fn location(&self) -> String {
        self.store.location().to_owned()
    }

    pub(crate) fn damaged(&self, file: &FileName, reason: impl Into<String>) -> DeliveryError {
        DeliveryError::Damaged { location: self.location(), file: file.path(), reason: reason.into() }
    }

    fn wrong_document(&self, file: &FileName, source: DocumentError) -> DeliveryError {
        DeliveryError::Document { location: self.location(), file: file.path(), source }
    }

    /// Reads a ref; `None` if the remote has no such ref.
    ///
    /// # Errors
    ///
    /// If the document cannot be read, or cannot be used.
    pub fn read_ref(&self, name: &RefName) -> Result<Option<RemoteRef>, DeliveryError> {
        let file = FileName::Ref(name.clone());
        let Some(read) = self.patience.access(|| self.store.read(&file, REF_DOCUMENT_MAX))? else { return Ok(None) };
        let document = RefDocument::parse(&read.bytes).map_err(|source| self.wrong_document(&file, source))?;
        Ok(Some(RemoteRef { document, text: read.bytes, version: read.version }))
    }

    /// Reads a file that never changes, and compares it with its name and length.
    pub(crate) fn read_file(&self, name: &FileName, size: u64) -> Result<Vec<u8>, DeliveryError> {
        let read = self.patience.access(|| self.store.read(name, size))?;
        let bytes = read.ok_or_else(|| self.damaged(name, "it is missing"))?.bytes;
        if bytes.len() as u64 != size {
            return Err(self.damaged(name, format!("it has {} bytes instead of {size}", bytes.len())));
        }
        match name.sha256() {
            Some(digest) if Sha256Digest::of(&bytes) != *digest => {
                Err(self.damaged(name, "its content does not have the SHA-256 in its name"))
            }
            _ => Ok(bytes),
        }
    }

    /// Reads an index.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or cannot be used.
    pub fn read_index(&self, entry: &FileEntry) -> Result<ImageIndex, DeliveryError> {
        let name = FileName::Index(entry.sha256);
        let bytes = self.read_file(&name, entry.size)?;
        let wrong = |source| DeliveryError::Index { location: self.location(), file: name.path(), source };
        ImageIndex::parse(&bytes).map_err(wrong)
    }

    /// Reads the index of a ref, and checks that it is that of the image.
    pub(crate) fn read_index_of(&self, document: &RefDocument) -> Result<ImageIndex, DeliveryError> {
        let index = self.read_index(&document.index)?;
        if index.image == document.image {
            return Ok(index);
        }
        Err(self.damaged(&FileName::Index(document.index.sha256), "it is the index of another image"))
    }

    /// Returns whether the remote has a file of this length.
    pub(crate) fn has_file(&self, name: &FileName, size: u64) -> Result<bool, DeliveryError> {
        Ok(self.patience.access(|| self.store.length(name))? == Some(size))
    }

    /// Writes a file that never changes, unless the remote has it. Returns true if it was written.
    pub(crate) fn send_file(&self, name: &FileName, content: &mut dyn NewContent) -> Result<bool, DeliveryError> {
        let size = content.length();
        match self.patience.access(|| self.store.length(name))? {
            Some(length) if length == size => return Ok(false),
            // The remains of a damaged remote: the name says what the content must be.
            Some(_) => self.patience.access(|| self.store.delete(name))?,
            None => {}
        }
        Ok(self.patience.access(|| self.store.create(name, content))? == CreateOutcome::New)
    }

    /// Checks the version of the layout.
    ///
    /// # Errors
    ///
    /// If the layout has another version. A remote without a version is empty, or a bare directory of objects.
    pub fn check_layout(&self) -> Result<bool, DeliveryError> {
        let name = FileName::Version;
        let Some(file) = self.patience.access(|| self.store.read(&name, REF_DOCUMENT_MAX))? else { return Ok(false) };
        check_version(&file.bytes).map_err(|source| self.wrong_document(&name, source))?;
        Ok(true)
    }

    /// Writes the version of the layout into a new remote.
    pub(crate) fn begin_layout(&self) -> Result<(), DeliveryError> {
        if self.check_layout()? {
            return Ok(());
        }
        let (name, text) = (FileName::Version, version_document());
        let written = self.patience.access(|| self.store.replace(&name, &text, &ExpectedFile::Absent))?;
        if written == RefReplacement::Changed {
            self.check_layout()?;
        }
        Ok(())
    }
}
