//! Layers of an overlay that have no file: the answer to each lookup of an object is an error, and overlayfs asks the
//! next layer.
//!
//! The kernel remembers no name of a lookup that gave an error, so it asks again each time (`fuse_lookup_name` in
//! `fs/fuse/dir.c`). What a [`LookupAnswer`] does before it answers is what the layer is for: [`Trigger`] gets the
//! object, which overlayfs finds in the next layer; [`NoObject`], the last one, says that it could not be got.

use std::collections::HashMap;
use std::fmt;

use libcomposefs_image::Digest;
use rustix::io::Errno;

use crate::file_system::{Opened, ReadReply, ServedFileSystem};
use crate::object_names::{FIRST_DIRECTORY, digest_of, directory, directory_named, directory_of};
use crate::protocol::{
    Attributes, Capabilities, DirectoryBuffer, DirectoryEntry, Entry, ROOT_ID, Statistics, Validity,
};
use crate::supply::ObjectSupply;

/// `DT_DIR`, the type of directories in listings.
const DT_DIR: u8 = 4;

/// The answer of a [`LookupLayer`] to lookups of objects.
pub trait LookupAnswer: Sync {
    /// Returns true if [`answer`](Self::answer) may take long for this object. Another thread calls it then.
    fn must_wait(&self, digest: &Digest) -> bool;

    /// Returns the error number of a lookup.
    fn answer(&self, digest: &Digest) -> Errno;

    /// Called when the file system is unmounted: waiting calls of [`answer`](Self::answer) should return soon.
    fn end(&self) {}
}

/// A file system of 256 directories without a file. Its nodes are always the same, so that a process can go on with the
/// session of another one.
#[derive(Debug)]
pub struct LookupLayer<A>(A);

/// Gets objects when they are looked up, and has overlayfs look into the next layer.
#[derive(Clone, Copy)]
pub struct Trigger<'s> {
    objects: &'s HashMap<Digest, u64>,
    supply: &'s dyn ObjectSupply,
}

/// Says of every object that it cannot be read.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObject;

impl<A: LookupAnswer> LookupLayer<A> {
    /// A layer with this answer.
    pub fn new(answer: A) -> Self {
        Self(answer)
    }
}

impl<'s> Trigger<'s> {
    /// A trigger for these objects and their sizes. Any other name does not exist, and `supply` is not asked for it.
    pub fn new(objects: &'s HashMap<Digest, u64>, supply: &'s dyn ObjectSupply) -> Self {
        Self { objects, supply }
    }
}

impl fmt::Debug for Trigger<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trigger").field("objects", &self.objects.len()).finish_non_exhaustive()
    }
}

impl LookupAnswer for Trigger<'_> {
    fn must_wait(&self, digest: &Digest) -> bool {
        self.objects.contains_key(digest)
    }

    fn answer(&self, digest: &Digest) -> Errno {
        match self.objects.get(digest).map(|size| self.supply.supply(digest, *size)) {
            None | Some(Ok(())) => Errno::NOENT,
            // Overlayfs asks the next layers all the same, and the last one decides.
            Some(Err(_)) => Errno::IO,
        }
    }

    fn end(&self) {
        self.supply.end();
    }
}

impl LookupAnswer for NoObject {
    fn must_wait(&self, _digest: &Digest) -> bool {
        false
    }

    fn answer(&self, _digest: &Digest) -> Errno {
        Errno::IO
    }
}

/// Returns the digest that a name stands for; `None` if no object can have it.
fn object(parent: u64, name: &[u8]) -> Option<Digest> {
    directory_of(parent).and_then(|byte| digest_of(byte, name))
}

impl<A: LookupAnswer> ServedFileSystem for LookupLayer<A> {
    fn capabilities(&self) -> Capabilities {
        Capabilities::READ_ONLY.with(Capabilities::RESEND)
    }

    fn lookup(&self, parent: u64, name: &[u8]) -> Result<Entry, Errno> {
        if parent == ROOT_ID {
            let node = FIRST_DIRECTORY + u64::from(directory_named(name).ok_or(Errno::NOENT)?);
            return Ok(Entry { node, attributes: directory(node), validity: Validity::FOREVER });
        }
        Err(object(parent, name).map_or(Errno::NOENT, |digest| self.0.answer(&digest)))
    }

    fn lookup_must_wait(&self, parent: u64, name: &[u8]) -> bool {
        object(parent, name).is_some_and(|digest| self.0.must_wait(&digest))
    }

    fn attributes(&self, node: u64) -> Result<(Attributes, Validity), Errno> {
        if node == ROOT_ID || directory_of(node).is_some() {
            return Ok((directory(node), Validity::FOREVER));
        }
        Err(Errno::STALE)
    }

    fn read_link(&self, _node: u64, _out: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::INVAL)
    }

    fn open(&self, _node: u64) -> Result<Opened, Errno> {
        Err(Errno::NOSYS)
    }

    fn open_directory(&self, _node: u64) -> Result<Opened, Errno> {
        Err(Errno::NOSYS)
    }

    fn read<'s>(&'s self, _node: u64, _offset: u64, _size: u32, _out: &mut Vec<u8>) -> Result<ReadReply<'s>, Errno> {
        Err(Errno::IO)
    }

    fn read_directory(&self, node: u64, position: u64, names: &mut DirectoryBuffer<'_>) -> Result<(), Errno> {
        let dots = [(".".to_owned(), node), ("..".to_owned(), ROOT_ID)];
        let named = |byte: u8| (format!("{byte:02x}"), FIRST_DIRECTORY + u64::from(byte));
        let below = (0..=u8::MAX).filter(|_| node == ROOT_ID).map(named);
        let entries = dots.into_iter().chain(below).zip(1..);
        for ((name, ino), next) in entries.skip(usize::try_from(position).unwrap_or(usize::MAX)) {
            let entry = DirectoryEntry { name: name.as_bytes(), ino, file_type: DT_DIR, position: next };
            if !names.add(&entry, None) {
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

    fn end(&self) {
        self.0.end();
    }

    fn statistics(&self) -> Result<Statistics, Errno> {
        Ok(Statistics { bsize: 4096, frsize: 4096, ..Statistics::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use libcomposefs_image::Algorithm;

    use super::*;
    use crate::supply::SupplyError;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl ObjectSupply for Counting {
        fn supply(&self, _digest: &Digest, size: u64) -> Result<(), SupplyError> {
            self.0.fetch_add(1, Ordering::SeqCst);
            if size == 7 { Ok(()) } else { Err("away".into()) }
        }

        fn end(&self) {}

        fn status(&self) -> Vec<u8> {
            Vec::new()
        }
    }

    fn digest(byte: u8) -> Digest {
        Digest::new(Algorithm::Sha256, &[byte; 32]).unwrap()
    }

    #[test]
    fn only_objects_of_the_image_are_asked_for() {
        let supply = Counting::default();
        let objects = HashMap::from([(digest(0xab), 7), (digest(0xcd), 8)]);
        let layer = LookupLayer::new(Trigger::new(&objects, &supply));
        let lookup = |byte: u8, name: &str| {
            let parent = layer.lookup(ROOT_ID, format!("{byte:02x}").as_bytes()).unwrap().node;
            let must_wait = layer.lookup_must_wait(parent, name.as_bytes());
            (must_wait, layer.lookup(parent, name.as_bytes()).unwrap_err())
        };
        assert_eq!(lookup(0xab, &"ab".repeat(31)), (true, Errno::NOENT));
        assert_eq!(lookup(0xcd, &"cd".repeat(31)), (true, Errno::IO));
        assert_eq!(supply.0.load(Ordering::SeqCst), 2);
        for (byte, name) in
            [(0xab, "ab".repeat(30)), (0xcd, "ab".repeat(31)), (0xef, "ef".repeat(31)), (0, "..".into())]
        {
            assert_eq!(lookup(byte, &name), (false, Errno::NOENT), "{name}");
        }
        assert_eq!(supply.0.load(Ordering::SeqCst), 2);
        assert_eq!(layer.lookup(ROOT_ID, b"AB").unwrap_err(), Errno::NOENT);
    }

    #[test]
    fn the_last_layer_says_that_an_object_cannot_be_read() {
        let layer = LookupLayer::new(NoObject);
        let name = "ab".repeat(31);
        assert!(!layer.lookup_must_wait(FIRST_DIRECTORY + 0xab, name.as_bytes()));
        assert_eq!(layer.lookup(FIRST_DIRECTORY + 0xab, name.as_bytes()).unwrap_err(), Errno::IO);
        assert_eq!(layer.lookup(FIRST_DIRECTORY + 0xab, b"none").unwrap_err(), Errno::NOENT);
    }
}
