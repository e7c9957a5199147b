//! The entries of a layer that is not stored: they are applied to a tree once the layer was verified, and are not
//! parsed a second time.

use libcomposefs_image::Digest;
use libcomposefs_image::tree::Timestamp;

use super::apply::{FileData, ImageTree};
use super::entries::LayerReadError;
use crate::shown::shown;
use crate::tar::{EntryKind, TarEntry};

/// Entries in the order of their archive.
#[derive(Debug, Default)]
pub(crate) struct EntryLog {
    entries: Vec<LoggedEntry>,
    /// The bytes of all entries: path, target, names and values of attributes, and the content if it is short.
    bytes: Vec<u8>,
    /// Lengths of the names and values of all attributes.
    xattrs: Vec<(usize, usize)>,
}

/// An entry without what has no fixed size.
#[derive(Debug)]
struct LoggedEntry {
    kind: EntryKind,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: Timestamp,
    device: (u32, u32),
    path: usize,
    link: usize,
    xattrs: usize,
    data: LoggedData,
}

#[derive(Debug)]
enum LoggedData {
    Inline(usize),
    // Few bytes for the many entries that have no object.
    Object(Box<(Digest, u64)>),
}

impl EntryLog {
    /// Adds an entry with its content, expanded if the file is sparse.
    pub(super) fn push(&mut self, entry: &TarEntry, data: &FileData) {
        self.bytes.extend_from_slice(&entry.path);
        self.bytes.extend_from_slice(&entry.link);
        for (name, value) in &entry.xattrs {
            self.xattrs.push((name.len(), value.len()));
            self.bytes.extend_from_slice(name);
            self.bytes.extend_from_slice(value);
        }
        let data = match data {
            FileData::Inline(content) => {
                self.bytes.extend_from_slice(content);
                LoggedData::Inline(content.len())
            }
            FileData::Object(digest, size) => LoggedData::Object(Box::new((*digest, *size))),
        };
        self.entries.push(LoggedEntry {
            kind: entry.kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            device: entry.device,
            path: entry.path.len(),
            link: entry.link.len(),
            xattrs: entry.xattrs.len(),
            data,
        });
    }

    /// Applies the entries to a tree.
    ///
    /// # Errors
    ///
    /// If an entry breaks a rule. The tree must not be used any more.
    pub(crate) fn apply(&self, tree: &mut ImageTree) -> Result<(), LayerReadError> {
        let (mut bytes, mut xattrs) = (&self.bytes[..], self.xattrs.iter());
        let mut take = |len: usize| {
            let (taken, rest) = bytes.split_at(len);
            bytes = rest;
            taken
        };
        let mut entry = TarEntry::empty();
        for (index, logged) in self.entries.iter().enumerate() {
            logged.fixed(&mut entry);
            replace(&mut entry.path, take(logged.path));
            replace(&mut entry.link, take(logged.link));
            entry.xattrs.clear();
            for (name, value) in xattrs.by_ref().take(logged.xattrs) {
                entry.xattrs.push((take(*name).to_vec(), take(*value).to_vec()));
            }
            let data = match &logged.data {
                LoggedData::Inline(len) => FileData::Inline(take(*len).to_vec()),
                LoggedData::Object(object) => FileData::Object(object.0, object.1),
            };
            tree.apply(&entry, data).map_err(|source| LayerReadError::Entry {
                number: index as u64 + 1,
                path: shown(&entry.path),
                source,
            })?;
        }
        Ok(())
    }
}

impl LoggedEntry {
    /// Sets the fields of a fixed size.
    fn fixed(&self, entry: &mut TarEntry) {
        (entry.kind, entry.mode, entry.uid, entry.gid) = (self.kind, self.mode, self.uid, self.gid);
        (entry.mtime, entry.device) = (self.mtime, self.device);
    }
}

fn replace(text: &mut Vec<u8>, by: &[u8]) {
    text.clear();
    text.extend_from_slice(by);
}
