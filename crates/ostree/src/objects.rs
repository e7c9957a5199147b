//! What the objects of ostree say, without IO: GVariants whose numbers are big-endian, in [normal form](crate::normal) only.
//!
//! | object | type |
//! |---|---|
//! | commit | `(a{sv}aya(say)sstayay)`: metadata, parent, related, subject, body, time, root dirtree, root dirmeta |
//! | dirtree | `(a(say)a(sayay))`: files (name, content), directories (name, dirtree, dirmeta) |
//! | dirmeta, `user.ostreemeta` | `(uuua(ayay))`: uid, gid, mode, xattrs |
//! | content | `(uuuusa(ayay))`: uid, gid, mode, rdev, symlink target, xattrs; in an archive `(tuuuusa(ayay))`, the size before |
// What the macro makes of a type has such code; none of it is written here.
#![allow(unsafe_code)]
#![expect(clippy::big_endian_bytes, reason = "the numbers of ostree are big-endian")]

use std::rc::Rc;

use gvariant::aligned_bytes::copy_to_align;
use gvariant::{Marker as _, Structure as _, gv};
use sha2::{Digest as _, Sha256};

use crate::id::Id;
use crate::normal;

const COMMIT: &str = "(a{sv}aya(say)sstayay)";
const DIRTREE: &str = "(a(say)a(sayay))";
const METADATA: &str = "(uuua(ayay))";
const ARCHIVED: &str = "(tuuuusa(ayay))";

/// The longest name of a directory's entry, in bytes.
const MAX_NAME: usize = 255;
/// The longest target of a symlink, in bytes.
pub(crate) const MAX_TARGET: usize = 4095;
/// The longest header of a file in an archive, and the longest dirmeta, in bytes: more attributes no file system keeps.
pub(crate) const MAX_HEADER: u64 = 1 << 20;
/// The key of a commit's metadata that has the digest of its image.
const DIGEST_KEY: &str = "ostree.composefs.digest.v0";

/// Owner, mode and attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Names, without the NUL that ends them there, and values.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a commit says of its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitObject {
    /// The dirtree of the root.
    pub tree: Id,
    /// The dirmeta of the root.
    pub meta: Id,
    /// The fs-verity digest of the image with the digests of all files, if it was recorded.
    pub digest: Option<Vec<u8>>,
}

/// A directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirTree {
    /// Names and contents.
    pub files: Vec<(Rc<str>, Id)>,
    /// Names, dirtrees and dirmetas.
    pub directories: Vec<(Rc<str>, Id, Id)>,
}

/// What a content object is besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Owner, mode and attributes.
    pub metadata: Metadata,
    /// The target of a symlink; empty for a file.
    pub target: String,
}

fn id(bytes: &[u8], of: &str) -> Result<Id, String> {
    Id::from_bytes(bytes).ok_or_else(|| format!("the checksum of {of} has {} bytes, expected 32", bytes.len()))
}

/// A name that a directory can have. A name that is not is told as far as it can be shown.
fn entry_name(name: &str) -> Result<&str, String> {
    let shown = || name.chars().take(40).collect::<String>();
    match name {
        "" | "." | ".." => Err(format!("the name {name:?} of an entry")),
        _ if name.len() > MAX_NAME => Err(format!(
            "the name of an entry has {} bytes, at most {MAX_NAME} are allowed: it begins with {:?}",
            name.len(),
            shown()
        )),
        _ if name.contains('/') => Err(format!("the name of an entry has a slash: it begins with {:?}", shown())),
        _ => Ok(name),
    }
}

/// An attribute's name, which ends with a NUL in a GVariant.
fn xattr(name: &[u8], value: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    match name.split_last() {
        Some((0, name)) if !name.is_empty() && !name.contains(&0) => Ok((name.to_vec(), value.to_vec())),
        _ => Err("an attribute without a name".into()),
    }
}

impl CommitObject {
    /// Reads a commit.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        normal::check(COMMIT, bytes)?;
        let bytes = copy_to_align(bytes);
        let commit = gv!("(a{sv}aya(say)sstayay)").cast(bytes.as_ref());
        let (metadata, _, _, _, _, _, tree, meta) = commit.to_tuple();
        let mut digest = None;
        for entry in metadata {
            let (key, value) = entry.to_tuple();
            if key.to_str() == DIGEST_KEY {
                let value = value.get(gv!("ay")).ok_or_else(|| format!("{DIGEST_KEY} is no array of bytes"))?;
                digest = Some(value.to_vec());
            }
        }
        Ok(Self { tree: id(tree, "the root directory")?, meta: id(meta, "the root's metadata")?, digest })
    }
}

impl DirTree {
    /// Reads a directory.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        normal::check(DIRTREE, bytes)?;
        let bytes = copy_to_align(bytes);
        let (files, directories) = gv!("(a(say)a(sayay))").cast(bytes.as_ref()).to_tuple();
        let mut tree = Self::default();
        for file in files {
            let (name, content) = file.to_tuple();
            let name = entry_name(name.to_str())?;
            tree.files.push((name.into(), id(content, name)?));
        }
        for directory in directories {
            let (name, below, meta) = directory.to_tuple();
            let name = entry_name(name.to_str())?;
            tree.directories.push((name.into(), id(below, name)?, id(meta, name)?));
        }
        Ok(tree)
    }
}

impl Metadata {
    /// Reads a dirmeta, or the attribute of a file in a bare-user repository.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        normal::check(METADATA, bytes)?;
        let bytes = copy_to_align(bytes);
        let (uid, gid, mode, xattrs) = gv!("(uuua(ayay))").cast(bytes.as_ref()).to_tuple();
        Self::of([uid, gid, mode], xattrs.iter().map(|pair| pair.to_tuple()))
    }

    /// What the fields say that dirmetas and headers have in common: uid, gid and mode, and the attributes.
    fn of<'a>(numbers: [&u32; 3], xattrs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, String> {
        let [uid, gid, mode] = numbers.map(|number| u32::from_be(*number));
        Ok(Self { uid, gid, mode, xattrs: xattrs.map(|(name, value)| xattr(name, value)).collect::<Result<_, _>>()? })
    }
}

impl FileHeader {
    /// Reads the header of a content in an archive; gives the size too.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn parse_archived(bytes: &[u8]) -> Result<(Self, u64), String> {
        normal::check(ARCHIVED, bytes)?;
        let bytes = copy_to_align(bytes);
        let (size, uid, gid, mode, _, target, xattrs) = gv!("(tuuuusa(ayay))").cast(bytes.as_ref()).to_tuple();
        let metadata = Metadata::of([uid, gid, mode], xattrs.iter().map(|pair| pair.to_tuple()))?;
        Ok((Self { metadata, target: target.to_str().to_owned() }, u64::from_be(*size)))
    }

    /// What the checksum of a content begins with: the length of the header, and the header.
    ///
    /// # Errors
    ///
    /// If no header can say it, as there is a NUL in the target.
    pub fn hasher(&self) -> Result<Sha256, String> {
        let mut xattrs: Vec<(Vec<u8>, &[u8])> = Vec::with_capacity(self.metadata.xattrs.len());
        for (name, value) in &self.metadata.xattrs {
            xattrs.push(([name, &b"\0"[..]].concat(), value));
        }
        xattrs.sort();
        let pairs: Vec<(&[u8], &[u8])> = xattrs.iter().map(|(name, value)| (&name[..], *value)).collect();
        let Metadata { uid, gid, mode, .. } = self.metadata;
        let mut header = Vec::new();
        let fields = (uid.to_be(), gid.to_be(), mode.to_be(), 0u32, self.target.as_str(), &pairs[..]);
        gv!("(uuuusa(ayay))").serialize(&fields, &mut header).map_err(|error| error.to_string())?;
        let mut hasher = Sha256::new();
        let len = u32::try_from(header.len()).unwrap_or(u32::MAX);
        hasher.update(len.to_be_bytes());
        hasher.update([0; 4]);
        hasher.update(&header);
        Ok(hasher)
    }
}
