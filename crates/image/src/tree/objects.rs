//! The objects that the regular files of a tree need, by their recorded digest and by their path.

use std::borrow::Cow;

use super::{InodeId, StoredData, StoredInode, StoredPayload, Tree};
use crate::digest::Digest;

/// The path of an object that a regular file of a tree names, whatever the path looks like.
#[derive(Clone, Copy, Debug)]
pub struct NamedPayload<'t> {
    /// The regular file that names the object.
    pub inode: InodeId,
    /// The size of the file.
    pub size: u64,
    /// True if the image has the content of the file, so that nothing reads the object.
    pub is_inline: bool,
    tree: &'t Tree,
    payload: StoredPayload,
    digest: Option<u32>,
}

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
    /// Returns the payloads of all regular files that have one, in the order of the inodes: also paths that are not
    /// made of a digest, and payloads of files that are empty or whose content is in the image.
    pub fn payloads(&self) -> impl Iterator<Item = NamedPayload<'_>> {
        (0..).map(InodeId).zip(&self.inodes).filter_map(|(inode, stored)| match stored.data {
            StoredData::Regular { payload: StoredPayload::None, .. } => None,
            StoredData::Regular { content, payload, digest } => Some(NamedPayload {
                inode,
                size: stored.size,
                is_inline: content.len() > 0,
                tree: self,
                payload,
                digest: StoredInode::digest_index(digest),
            }),
            _ => None,
        })
    }

    /// Returns the objects that the files of the tree need, in the order of the inodes. An object is listed once for
    /// each file that needs it. A file whose path leads to another object than its recorded digest needs both: a mount
    /// opens the path, and other readers may use the digest.
    ///
    /// Files without a path need no object: their content is in the image, or they are empty. Nor do paths count that
    /// are not made of a digest: [`Tree::payloads`] has them.
    pub fn objects(&self) -> impl Iterator<Item = NeededObject> + '_ {
        self.payloads().filter(|payload| !payload.is_inline).flat_map(|payload| payload.objects()).flatten()
    }

    /// Returns the path of a payload: the usual `xx/yyyy…` is not stored but spelled on demand.
    pub(super) fn spelled_payload(&self, payload: StoredPayload) -> Option<Cow<'_, [u8]>> {
        match payload {
            StoredPayload::None => None,
            StoredPayload::Object(digest) => Some(Cow::Owned(self.digest(digest).object_path().into_bytes())),
            StoredPayload::Path(path) => Some(Cow::Borrowed(self.payloads.get(path))),
        }
    }
}

impl<'t> NamedPayload<'t> {
    /// Returns the path below the store.
    #[must_use]
    pub fn path(&self) -> Cow<'t, [u8]> {
        self.tree.spelled_payload(self.payload).unwrap_or_default()
    }

    /// Returns the digest that the file records.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest.map(|digest| self.tree.digest(digest))
    }

    /// Returns the objects that the path and the recorded digest name.
    fn objects(&self) -> [Option<NeededObject>; 2] {
        let need = |digest, named_by| Some(NeededObject { inode: self.inode, size: self.size, digest, named_by });
        let path = match self.payload {
            StoredPayload::None => return [None, None],
            // Digests are interned: equal ones have one index.
            StoredPayload::Object(path) if self.digest == Some(path) => {
                return [need(self.tree.digest(path), NamedBy::Both), None];
            }
            StoredPayload::Object(path) => Some(self.tree.digest(path)),
            StoredPayload::Path(path) => {
                object_of_path(self.tree.payloads.get(path)).filter(|d| d.algorithm() == self.tree.algorithm)
            }
        };
        match (path, self.digest()) {
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
    fn every_payload_is_listed_and_only_some_need_objects() {
        let one = digest(1);
        let path = one.object_path();
        let root = NewInode { mode: 0o40755, nlink: 2, ..NewInode::default() };
        let mut builder = TreeBuilder::new(Algorithm::Sha256, &root).unwrap();
        let file = |payload, content| NewInode {
            mode: 0o100_644,
            nlink: 1,
            size: 6,
            payload,
            content,
            digest: Some(one),
            ..NewInode::default()
        };
        let usual: &[u8] = path.as_bytes();
        for (name, payload, content) in [
            ("a", Some(usual), None),
            ("b", Some(&b"some/file"[..]), None),
            ("c", Some(b"some/other"), Some(&b"inline"[..])),
            ("d", None, Some(b"inline")),
        ] {
            builder.add(InodeId::ROOT, name.as_bytes(), &file(payload, content)).unwrap();
        }
        let tree = builder.finish();
        let payloads: Vec<_> = tree.payloads().map(|p| (p.path().into_owned(), p.is_inline, p.digest())).collect();
        let all = [(usual, false), (b"some/file", false), (b"some/other", true)];
        assert_eq!(payloads, all.map(|(path, is_inline)| (path.to_vec(), is_inline, Some(one))));
        let needed: Vec<_> = tree.objects().map(|object| object.named_by).collect();
        assert_eq!(needed, [NamedBy::Both, NamedBy::Digest]);
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
