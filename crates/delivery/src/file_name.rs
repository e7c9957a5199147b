//! The names of the files of a remote (`docs/format/remote.md`, section 1).

use std::fmt;

use libcomposefs_image::Digest;
use libcomposefs_repo::RefName;

use crate::Sha256Digest;

/// The name of a file of a remote.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// The version of the layout.
    Version,
    /// What a running gc of the remote removes. It is replaced like a ref.
    Collection,
    /// A ref document.
    Ref(RefName),
    /// A metadata image, compressed.
    Image(Sha256Digest),
    /// The index of an image.
    Index(Sha256Digest),
    /// A pack.
    Pack(Sha256Digest),
    /// An object, uncompressed, as in a directory of objects. Read only.
    Object(Digest),
    /// An image by its fs-verity digest, uncompressed, as in a repository. Read only.
    ImageByDigest(Digest),
}

/// A kind of files that a store lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// Ref documents.
    Ref,
    /// Metadata images.
    Image,
    /// Indexes.
    Index,
    /// Packs.
    Pack,
}

impl FileKind {
    /// All kinds.
    pub const ALL: [FileKind; 4] = [FileKind::Ref, FileKind::Image, FileKind::Index, FileKind::Pack];

    /// Returns the directory of the files, relative to the remote, without a slash at the end.
    #[must_use]
    pub const fn directory(self) -> &'static str {
        match self {
            FileKind::Ref => "refs",
            FileKind::Image => "images",
            FileKind::Index => "indexes",
            FileKind::Pack => "packs",
        }
    }
}

impl FileName {
    /// Returns the path, relative to the remote. A ref may have any character except control characters in its name: a
    /// store that makes URLs of paths must encode them.
    #[must_use]
    pub fn path(&self) -> String {
        let by_sha256 = |kind: FileKind, digest: &Sha256Digest| {
            let hex = digest.to_hex();
            format!("{}/{}/{hex}", kind.directory(), hex.get(..2).unwrap_or_default())
        };
        match self {
            FileName::Version => "composefs-remote.json".into(),
            FileName::Collection => "composefs-gc.json".into(),
            FileName::Ref(name) => format!("{}/{name}", FileKind::Ref.directory()),
            FileName::Image(digest) => by_sha256(FileKind::Image, digest),
            FileName::Index(digest) => by_sha256(FileKind::Index, digest),
            FileName::Pack(digest) => by_sha256(FileKind::Pack, digest),
            FileName::Object(digest) => format!("objects/{}", digest.object_path()),
            FileName::ImageByDigest(digest) => format!("images/{digest}"),
        }
    }

    /// Returns the name of a file with a path, if it is one that [`list`](crate::RemoteStore::list) may return.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        let (directory, rest) = path.split_once('/')?;
        let kind = FileKind::ALL.into_iter().find(|kind| kind.directory() == directory)?;
        let name = match kind {
            FileKind::Ref => FileName::Ref(RefName::new(rest).ok()?),
            _ => {
                let digest = rest.split_once('/')?.1.parse().ok()?;
                match kind {
                    FileKind::Image => FileName::Image(digest),
                    FileKind::Index => FileName::Index(digest),
                    _ => FileName::Pack(digest),
                }
            }
        };
        (name.path() == path).then_some(name)
    }

    /// Returns the SHA-256 of the content if the name says it: the file never changes then.
    #[must_use]
    pub fn sha256(&self) -> Option<&Sha256Digest> {
        match self {
            FileName::Image(digest) | FileName::Index(digest) | FileName::Pack(digest) => Some(digest),
            FileName::Version
            | FileName::Collection
            | FileName::Ref(_)
            | FileName::Object(_)
            | FileName::ImageByDigest(_) => None,
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_their_paths() {
        let digest = Sha256Digest::of(b"content");
        let names = [
            FileName::Ref(RefName::new("debian/13").unwrap()),
            FileName::Image(digest),
            FileName::Index(digest),
            FileName::Pack(digest),
        ];
        for name in names {
            let path = name.path();
            assert_eq!(FileName::from_path(&path), Some(name));
            for wrong in [format!("{path}/"), format!("/{path}"), path.replace('/', "//"), format!("x{path}")] {
                assert_eq!(FileName::from_path(&wrong), None, "{wrong}");
            }
        }
        let hex = digest.to_hex();
        for wrong in ["composefs-remote.json", "refs/../packs", "refs/", &format!("packs/00/{hex}")] {
            assert_eq!(FileName::from_path(wrong), None, "{wrong}");
        }
    }
}
