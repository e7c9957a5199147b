//! Contents in the object store, found by the table.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _, SeekFrom};

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
    /// Contents whose bytes were hashed.
    verified: HashSet<BlobDigest>,
    /// Contents whose objects are missing or have other bytes.
    wrong: HashSet<BlobDigest>,
}

impl<'s> StoredContents<'s> {
    /// Looks up contents in a table and reads them from the objects of a repository.
    #[must_use]
    pub fn new(table: &'s ContentTable, objects: &'s ObjectDir) -> Self {
        Self { table, objects, verified: HashSet::new(), wrong: HashSet::new() }
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
