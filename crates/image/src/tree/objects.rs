//! The objects that the regular files of a tree need, by their recorded digest and by their path.

use super::{InodeId, StoredData, StoredInode, StoredPayload, Tree};
use crate::digest::Digest;

/// An object that a regular file of a tree needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeededObject {
    /// The regular file that needs the object.
    pub inode: InodeId,
    /// The size of the file.
    pub size: u64,
    /// The digest of the object.
    pub digest: Digest,
    /// The field of the file that names the object.
    pub named_by: NamedBy,
}

/// The field of a file that names an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NamedBy {
    /// The recorded digest and the path, which agree. Every composefs tool writes files like this.
    Both,
    /// The recorded digest only: the path leads elsewhere.
    Digest,
    /// The path only. A mount reads this object, and nothing compares its content with the image.
    Path,
}

impl Tree {
    /// Returns the objects that the files of the tree need, in the order of the inodes. An object is listed once for
    /// each file that needs it. A file whose path leads to another object than its recorded digest needs both: a mount
    /// opens the path, and other readers may use the digest.
    ///
    /// Files without a path need no object: their content is in the image, or they are empty.
    pub fn objects(&self) -> impl Iterator<Item = NeededObject> + '_ {
        let ids = (0..).map(InodeId);
        ids.zip(&self.inodes).flat_map(|(id, stored)| self.needed_by(id, stored)).flatten()
    }

    fn needed_by(&self, inode: InodeId, stored: &StoredInode) -> [Option<NeededObject>; 2] {
        let need = |digest, named_by| Some(NeededObject { inode, size: stored.size, digest, named_by });
        let StoredData::Regular { content, payload, digest } = stored.data else { return [None, None] };
        let own = StoredInode::digest_index(digest);
        let path = match payload {
            StoredPayload::None => return [None, None],
            _ if content.len() > 0 => return [None, None],
            // Digests are interned: equal ones have one index.
            StoredPayload::Object(path) if own == Some(path) => return [need(self.digest(path), NamedBy::Both), None],
            StoredPayload::Object(path) => Some(self.digest(path)),
            StoredPayload::Path(path) => {
                object_of_path(self.payloads.get(path)).filter(|d| d.algorithm() == self.algorithm)
            }
        };
        match (path, own.map(|own| self.digest(own))) {
            (Some(path), Some(own)) if path == own => [need(own, NamedBy::Both), None],
            (path, own) => [path.and_then(|d| need(d, NamedBy::Path)), own.and_then(|d| need(d, NamedBy::Digest))],
        }
    }
}

/// Returns the object that a path below a store leads to, in any spelling: `/ab/cd…`, `./ab//cd…`, `x/../ab/cd…`.
/// Symlinks in a store are never followed, so `..` removes the name before it.
fn object_of_path(path: &[u8]) -> Option<Digest> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    Digest::from_object_path(&names.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;
    use crate::tree::{NewInode, TreeBuilder};

    fn digest(byte: u8) -> Digest {
        Digest::new(Algorithm::Sha256, &[byte; 32]).unwrap()
    }

    /// The objects of a tree with one file of this payload and digest.
    fn objects(payload: Option<&[u8]>, own: Option<Digest>, content: Option<&[u8]>) -> Vec<(Digest, NamedBy)> {
        let root = NewInode { mode: 0o40755, nlink: 2, ..NewInode::default() };
        let mut builder = TreeBuilder::new(Algorithm::Sha256, &root).unwrap();
        let size = content.map_or(5, |content| content.len() as u64);
        let file = NewInode { mode: 0o100_644, nlink: 1, size, payload, content, digest: own, ..NewInode::default() };
        builder.add(InodeId::ROOT, b"file", &file).unwrap();
        let tree = builder.finish();
        tree.objects().map(|object| (object.digest, object.named_by)).collect()
    }

    #[test]
    fn a_file_needs_what_its_path_and_its_digest_name() {
        let (one, other) = (digest(1), digest(2));
        let path = one.object_path();
        assert_eq!(objects(Some(path.as_bytes()), Some(one), None), [(one, NamedBy::Both)]);
        assert_eq!(objects(Some(path.as_bytes()), None, None), [(one, NamedBy::Path)]);
        let both = [(one, NamedBy::Path), (other, NamedBy::Digest)];
        assert_eq!(objects(Some(path.as_bytes()), Some(other), None), both);
        assert_eq!(objects(Some(b"some/file"), Some(other), None), [(other, NamedBy::Digest)]);
        assert_eq!(objects(Some(b"some/file"), None, None), []);
        assert_eq!(objects(None, Some(one), None), []);
        assert_eq!(objects(None, Some(one), Some(b"inline")), []);
    }

    #[test]
    fn a_path_may_be_spelled_in_many_ways() {
        let one = digest(0xab);
        let path = one.object_path();
        let (fan, rest) = path.split_once('/').unwrap();
        for spelled in [format!("/{path}"), format!("./{fan}//{rest}"), format!("x/../{path}/."), format!("//{path}")] {
            assert_eq!(objects(Some(spelled.as_bytes()), None, None), [(one, NamedBy::Path)], "{spelled}");
            assert_eq!(objects(Some(spelled.as_bytes()), Some(one), None), [(one, NamedBy::Both)], "{spelled}");
        }
        for other in
            [format!("../{path}"), format!("{path}x"), path.to_uppercase(), format!("{path}/.."), fan.to_owned()]
        {
            assert_eq!(objects(Some(other.as_bytes()), None, None), [], "{other}");
        }
    }
}
