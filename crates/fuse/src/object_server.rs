//! Object directories as a file system: each block that is read was compared with the digest in the object's name.
//!
//! The server needs no image, and trusts nothing on disk. Objects lie in 256 directories, as in a store. An object is
//! one inode for all images, so that their mounts share its pages.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

use libcomposefs_content::mutex::lock;
use libcomposefs_image::{Digest, verity};
use libcomposefs_store::ObjectError;
use rustix::io::Errno;

use crate::file_system::{Opened, ReadReply, ServedFileSystem};
use crate::object_names::{FIRST_DIRECTORY, digest_of, directory, directory_named, directory_of};
use crate::objects::{ContentDamage, ObjectContents, ObjectName};
use crate::protocol::{
    Attributes, Capabilities, DirectoryBuffer, DirectoryEntry, Entry, ROOT_ID, Statistics, Validity,
};

/// The first node of an object.
const FIRST_OBJECT: u64 = FIRST_DIRECTORY + 256;

/// The largest number of objects that get a node.
const MAX_OBJECTS: usize = 1 << 22;

/// The time after which the kernel looks an object up again: it may have been removed, or repaired.
const OBJECT_VALIDITY: Validity = Validity::seconds(10);

/// `DT_DIR` and `DT_REG`, the types of directories and files in listings.
const DT_DIR: u8 = 4;
const DT_REG: u8 = 8;

/// The server of object directories.
pub struct ObjectServer<'r> {
    objects: ObjectContents,
    nodes: Mutex<ObjectNodes>,
    report: Box<dyn Fn(&ContentDamage) + Send + Sync + 'r>,
}

/// The nodes of all objects that were looked up.
#[derive(Debug, Default)]
struct ObjectNodes {
    by_digest: HashMap<Digest, u64>,
    nodes: Vec<ObjectNode>,
}

/// An object, with the length that it had when it was looked up. An object of that digest has only one length: one that
/// has another is damaged, and its repair gets a node of its own.
#[derive(Clone, Copy, Debug)]
struct ObjectNode {
    digest: Digest,
    size: u64,
}

impl fmt::Debug for ObjectServer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectServer").field("objects", &self.objects).finish_non_exhaustive()
    }
}

impl<'r> ObjectServer<'r> {
    /// A server of these objects. `report` is called with each failure for which a process gets `EIO`.
    #[must_use]
    pub fn new(objects: ObjectContents, report: impl Fn(&ContentDamage) + Send + Sync + 'r) -> Self {
        Self { objects, nodes: Mutex::default(), report: Box::new(report) }
    }

    fn failed(&self, damage: impl Into<ContentDamage>) -> Errno {
        let damage = damage.into();
        (self.report)(&damage);
        damage.errno()
    }

    fn object(&self, node: u64) -> Result<ObjectNode, Errno> {
        let index = node.checked_sub(FIRST_OBJECT).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| lock(&self.nodes).nodes.get(index).copied()).ok_or(Errno::STALE)
    }

    fn object_entry(&self, digest: Digest) -> Result<Entry, Errno> {
        let size = match self.objects.size_of(digest.object_path().as_bytes()) {
            Ok(size) => size,
            // Another process may store the object at any time.
            Err(ObjectError::Missing { .. }) => return Ok(Entry::negative(Validity::NONE)),
            Err(error) => return Err(self.failed(error)),
        };
        // An empty file is never read, so its digest is compared here. Any other length is part of what READ compares.
        if size == 0 && digest != verity::digest(digest.algorithm(), b"") {
            let (path, expected) = (digest.object_path(), Box::new(digest));
            return Err(self.failed(ContentDamage::Content { path, expected, offset: 0 }));
        }
        let node = lock(&self.nodes).node_of(digest, size).ok_or(Errno::NFILE)?;
        Ok(Entry { node, attributes: file(node, size), validity: OBJECT_VALIDITY })
    }
}

impl ObjectNodes {
    /// Returns the node of an object, which is a new one for a new length.
    fn node_of(&mut self, digest: Digest, size: u64) -> Option<u64> {
        let index = |node: u64| usize::try_from(node.checked_sub(FIRST_OBJECT)?).ok();
        if let Some(&node) = self.by_digest.get(&digest)
            && index(node).and_then(|index| self.nodes.get(index)).is_some_and(|found| found.size == size)
        {
            return Some(node);
        }
        if self.nodes.len() >= MAX_OBJECTS {
            return None;
        }
        let node = FIRST_OBJECT + self.nodes.len() as u64;
        self.nodes.push(ObjectNode { digest, size });
        self.by_digest.insert(digest, node);
        Some(node)
    }
}

impl ServedFileSystem for ObjectServer<'_> {
    fn capabilities(&self) -> Capabilities {
        Capabilities::READ_ONLY
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        if parent == ROOT_ID {
            let Some(byte) = directory_named(name) else { return Ok(Entry::negative(Validity::FOREVER)) };
            let node = FIRST_DIRECTORY + u64::from(byte);
            return Ok(Entry { node, attributes: directory(node), validity: Validity::FOREVER });
        }
        let Some(byte) = directory_of(parent) else { return Err(Errno::NOTDIR) };
        match digest_of(byte, name) {
            Some(digest) => self.object_entry(digest),
            None => Ok(Entry::negative(Validity::FOREVER)),
        }
    }

    fn attributes(&self, node: u64) -> Result<(Attributes, Validity), Errno> {
        if node == ROOT_ID || directory_of(node).is_some() {
            return Ok((directory(node), Validity::FOREVER));
        }
        Ok((file(node, self.object(node)?.size), OBJECT_VALIDITY))
    }

    fn read_link(&self, _node: u64, _out: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::INVAL)
    }

    fn open(&self, _node: u64) -> Result<Opened, Errno> {
        // Files need no opening: READ has the node, and pages stay in the cache.
        Err(Errno::NOSYS)
    }

    fn open_directory(&self, _node: u64) -> Result<Opened, Errno> {
        // The kernel must not keep the names: objects are stored and removed at any time.
        Ok(Opened { flags: 0 })
    }

    fn read<'s>(&'s self, node: u64, offset: u64, size: u32, buffer: &mut Vec<u8>) -> Result<ReadReply<'s>, Errno> {
        let object = self.object(node)?;
        let path = object.digest.object_path();
        let name = || Ok(ObjectName { payload: path.as_bytes(), digest: Some(object.digest), size: object.size });
        self.objects.read(node, name, (offset, size), buffer).map_err(|damage| self.failed(damage))
    }

    fn read_directory(&self, node: u64, position: u64, names: &mut DirectoryBuffer<'_>) -> Result<(), Errno> {
        let all: Vec<(Vec<u8>, u64, u8)> = match directory_of(node) {
            None if node != ROOT_ID => return Err(Errno::NOTDIR),
            None => {
                let named = |byte: u8| (format!("{byte:02x}").into_bytes(), FIRST_DIRECTORY + u64::from(byte), DT_DIR);
                (0..=u8::MAX).map(named).collect()
            }
            Some(byte) => {
                let found = self.objects.names_in(format!("{byte:02x}").as_bytes())?;
                // A number that no inode has: the object gets its node when it is looked up.
                let wanted = found.into_iter().filter(|name| digest_of(byte, name).is_some());
                wanted.map(|name| (name, u64::MAX, DT_REG)).collect()
            }
        };
        let dots = [(b".".to_vec(), node, DT_DIR), (b"..".to_vec(), ROOT_ID, DT_DIR)];
        let entries = dots.into_iter().chain(all).zip(1..);
        for ((name, ino, file_type), next) in entries.skip(usize::try_from(position).unwrap_or(usize::MAX)) {
            if !names.add(&DirectoryEntry { name: &name, ino, file_type, position: next }, None) {
                break;
            }
        }
        Ok(())
    }

    fn xattr(&self, _node: u64, _name: &[u8], _out: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }

    fn xattr_names(&self, _node: u64, _user: u32, _out: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }

    fn statistics(&self) -> Result<Statistics, Errno> {
        let found = self.objects.statistics().ok_or(Errno::NOSYS)??;
        Ok(Statistics { ffree: found.f_ffree, ..Statistics::of(&found, found.f_files) })
    }
}

fn file(node: u64, size: u64) -> Attributes {
    Attributes { ino: node, mode: 0o100_444, nlink: 1, size, ..Attributes::default() }
}

#[cfg(test)]
mod tests {
    use libcomposefs_image::Algorithm;

    use super::*;

    #[test]
    fn an_object_has_one_node_for_each_length() {
        let mut nodes = ObjectNodes::default();
        let digest = Digest::new(Algorithm::Sha256, &[1; 32]).unwrap();
        let first = nodes.node_of(digest, 5).unwrap();
        assert_eq!(nodes.node_of(digest, 5), Some(first));
        let repaired = nodes.node_of(digest, 6).unwrap();
        assert!(repaired != first && nodes.node_of(digest, 6) == Some(repaired));
    }
}
