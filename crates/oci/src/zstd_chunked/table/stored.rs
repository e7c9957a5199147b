//! Contents in the object store, found by the table.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _, SeekFrom};

use libcomposefs_repo::Transaction;
use libcomposefs_store::ObjectDir;

use super::{ContentPlace, ContentTable};
use crate::tar_split::ContentOrigin;
use crate::zstd_chunked::LocalContents;
use crate::{BlobDigest, BlobHasher};

/// The contents of an object store.
#[derive(Debug)]
pub struct StoredContents<'s> {
    table: &'s ContentTable,
    objects: &'s ObjectDir,
    /// Protects the objects that are used.
    transaction: Option<&'s Transaction<'s>>,
    /// Contents whose bytes were hashed.
    verified: HashSet<BlobDigest>,
    /// Contents whose objects are missing or have other bytes.
    wrong: HashSet<BlobDigest>,
}

impl<'s> StoredContents<'s> {
    /// Looks up contents in a table and reads them from the objects of a repository.
    #[must_use]
    pub fn new(table: &'s ContentTable, objects: &'s ObjectDir) -> Self {
        Self { table, objects, transaction: None, verified: HashSet::new(), wrong: HashSet::new() }
    }

    /// Protects the objects of contents from gc, before their bytes are read, until the transaction has ended.
    #[must_use]
    pub fn protected_by(self, transaction: &'s Transaction<'s>) -> Self {
        Self { transaction: Some(transaction), ..self }
    }

    /// Returns the contents that the table has a wrong place for.
    #[must_use]
    pub fn wrong(&self) -> &HashSet<BlobDigest> {
        &self.wrong
    }

    fn reader(&self, digest: &BlobDigest, size: u64) -> io::Result<(Box<dyn Read>, ContentOrigin)> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let place = self.table.get(digest).filter(|place| place.size() == size).ok_or_else(missing)?;
        let (object, offset) = match place {
            ContentPlace::Inline(bytes) => return Ok((Box::new(Cursor::new(bytes)), ContentOrigin::Unknown)),
            ContentPlace::Object { object, offset, .. } => (object, offset),
        };
        let opened = self.objects.open_object(&object).map_err(io::Error::other)?;
        let mut file = File::from(opened.ok_or_else(missing)?);
        let is_whole = offset == 0 && file.metadata()?.len() == size;
        file.seek(SeekFrom::Start(offset))?;
        let origin = if is_whole { ContentOrigin::Object(object) } else { ContentOrigin::Unknown };
        Ok((Box::new(file.take(size)), origin))
    }

    fn verify(&self, digest: &BlobDigest, size: u64) -> io::Result<bool> {
        if let (Some(transaction), Some(ContentPlace::Object { object, .. })) =
            (self.transaction, self.table.get(digest))
        {
            // Before it is opened: a gc removes none of what exists after this.
            transaction.protect(&[object]).map_err(io::Error::other)?;
        }
        let (mut reader, _) = self.reader(digest, size)?;
        let mut hasher = BlobHasher::default();
        let (mut buffer, mut left) = (vec![0; 256 << 10], size);
        while left > 0 {
            let read = match reader.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..read]);
            left = left.saturating_sub(read as u64);
        }
        Ok(hasher.finish() == *digest)
    }
}

impl LocalContents for StoredContents<'_> {
    /// Reads and hashes the content. An error of reading counts as a content that is not here.
    fn contains(&mut self, digest: &BlobDigest, size: u64) -> bool {
        if self.table.get(digest).is_none_or(|place| place.size() != size) {
            return false;
        }
        if self.verified.contains(digest) {
            return true;
        }
        let is_right = self.verify(digest, size).unwrap_or(false);
        if is_right {
            self.verified.insert(*digest)
        } else {
            self.wrong.insert(*digest)
        };
        is_right
    }

    fn open(&mut self, digest: &BlobDigest, size: u64) -> io::Result<(Box<dyn Read>, ContentOrigin)> {
        self.reader(digest, size)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libcomposefs_image::Algorithm;
    use libcomposefs_repo::{Format, GcOptions, Repository, Settings};

    use super::*;

    #[test]
    fn a_content_that_is_used_stays_until_the_transaction_ends() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::One };
        let (repository, _) = Repository::init(&dir.path().join("repo"), settings).unwrap();
        let content = [7; 1000];
        let digest = BlobDigest::of(&content);
        let gc = || repository.gc(GcOptions { dry_run: false, grace: Duration::ZERO }).unwrap();
        for is_protected in [true, false] {
            let own = repository.transaction().unwrap();
            let (object, _) = own.batch().put_bytes(&content).unwrap();
            own.commit().unwrap();
            let mut table = ContentTable::new(Algorithm::Sha256);
            table.insert(digest, ContentPlace::Object { object, offset: 0, size: 1000 });
            let transaction = repository.transaction().unwrap();
            let mut contents = StoredContents::new(&table, repository.objects());
            if is_protected {
                contents = contents.protected_by(&transaction);
            }
            assert!(contents.contains(&digest, 1000));
            gc();
            assert_eq!(contents.open(&digest, 1000).is_ok(), is_protected);
            drop(contents);
            drop(transaction);
            gc();
            assert!(StoredContents::new(&table, repository.objects()).open(&digest, 1000).is_err());
        }
    }
}
