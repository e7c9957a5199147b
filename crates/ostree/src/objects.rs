//! The format of ostree's objects, without IO: GVariants whose numbers are big-endian, in normal form (`normal`) only.
//!
//! ```text
//! object                     type
//! commit                     (a{sv}aya(say)sstayay): metadata, parent, related, subject, body, time,
//!                            root dirtree, root dirmeta
//! dirtree                    (a(say)a(sayay)): files (name, content), directories (name, dirtree, dirmeta)
//! dirmeta, user.ostreemeta   (uuua(ayay)): uid, gid, mode, xattrs
//! content                    (uuuusa(ayay)): uid, gid, mode, rdev, symlink target, xattrs
//! content in an archive      (tuuuusa(ayay)): size, then the same
//! ```
// The code that the macro generates for a type is unsafe; none of it is written here.
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

/// The longest name of a directory entry, in bytes.
const MAX_NAME: usize = 255;
/// The longest target of a symlink, in bytes.
pub(crate) const MAX_TARGET: usize = 4095;
/// The longest header of a file in an archive, and the longest dirmeta, in bytes: no file system stores more xattrs.
pub(crate) const MAX_HEADER: u64 = 1 << 20;
/// The metadata key of a commit with the branches that it was made for.
const BINDING_KEY: &str = "ostree.ref-binding";
/// The key of detached metadata with the Ed25519 signatures of a commit.
const SIGNATURES_KEY: &str = "ostree.sign.ed25519";
/// Type of detached metadata.
const DETACHED: &str = "a{sv}";
/// The metadata key of a commit with the digest of its image.
const DIGEST_KEY: &str = "ostree.composefs.digest.v0";

/// Owner, mode and xattrs of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// User ID of the owner.
    pub uid: u32,
    /// Group ID of the owner.
    pub gid: u32,
    /// File type and permissions.
    pub mode: u32,
    /// Names, without the NUL at their end in the GVariant, and values.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The fields of a commit that concern its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitObject {
    /// The dirtree of the root.
    pub tree: Id,
    /// The dirmeta of the root.
    pub meta: Id,
    /// The fs-verity digest of the image with the digests of all files, if it was recorded.
    pub digest: Option<Vec<u8>>,
    /// The branches that the commit was made for; none if that was not recorded.
    pub bound_refs: Vec<String>,
}

/// The entries of a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirTree {
    /// Names and contents of the files.
    pub files: Vec<(Rc<str>, Id)>,
    /// Names, dirtrees and dirmetas of the subdirectories.
    pub directories: Vec<(Rc<str>, Id, Id)>,
}

/// The header of a content object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// Owner, mode and xattrs of the file.
    pub metadata: Metadata,
    /// The target of a symlink; empty for a file.
    pub target: String,
}

fn id(bytes: &[u8], of: &str) -> Result<Id, String> {
    Id::from_bytes(bytes).ok_or_else(|| format!("the checksum of {of} has {} bytes, expected 32", bytes.len()))
}

/// Checks the name of a directory entry. The message has as much of an invalid name as can be printed.
fn entry_name(name: &str) -> Result<&str, String> {
    let shown = || name.chars().take(40).collect::<String>();
    match name {
        "" | "." | ".." => Err(format!("an entry has the name {name:?}")),
        _ if name.len() > MAX_NAME => Err(format!(
            "the name of an entry has {} bytes, at most {MAX_NAME} are allowed: it begins with {:?}",
            name.len(),
            shown()
        )),
        _ if name.contains('/') => Err(format!("the name of an entry has a slash: it begins with {:?}", shown())),
        _ => Ok(name),
    }
}

/// Splits the NUL off an xattr's name, which ends with one in a GVariant.
fn xattr(name: &[u8], value: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    match name.split_last() {
        Some((0, name)) if !name.is_empty() && !name.contains(&0) => Ok((name.to_vec(), value.to_vec())),
        _ => Err("an xattr has no name".into()),
    }
}

impl CommitObject {
    /// Parses a commit.
    ///
    /// # Errors
    ///
    /// A message with the rule that is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        normal::check(COMMIT, bytes)?;
        let bytes = copy_to_align(bytes);
        let commit = gv!("(a{sv}aya(say)sstayay)").cast(bytes.as_ref());
        let (metadata, _, _, _, _, _, tree, meta) = commit.to_tuple();
        let (mut digest, mut bound_refs) = (None, Vec::new());
        for entry in metadata {
            let (key, value) = entry.to_tuple();
            if key.to_str() == DIGEST_KEY {
                let value = value.get(gv!("ay")).ok_or_else(|| format!("{DIGEST_KEY} is not an array of bytes"))?;
                digest = Some(value.to_vec());
            } else if key.to_str() == BINDING_KEY {
                let value = value.get(gv!("as")).ok_or_else(|| format!("{BINDING_KEY} is not an array of strings"))?;
                bound_refs.extend(value.iter().map(|name| name.to_str().to_owned()));
            }
        }
        let (tree, meta) = (id(tree, "the root directory")?, id(meta, "the root's metadata")?);
        Ok(Self { tree, meta, digest, bound_refs })
    }
}

/// Returns the Ed25519 signatures in the detached metadata of a commit. Who made them is not checked.
///
/// # Errors
///
/// A message with the rule that is broken.
pub fn ed25519_signatures(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    normal::check(DETACHED, bytes)?;
    let bytes = copy_to_align(bytes);
    let mut found = Vec::new();
    for entry in gv!("a{sv}").cast(bytes.as_ref()) {
        let (key, value) = entry.to_tuple();
        if key.to_str() == SIGNATURES_KEY {
            let value =
                value.get(gv!("aay")).ok_or_else(|| format!("{SIGNATURES_KEY} is not an array of arrays of bytes"))?;
            found.extend(value.iter().map(|signature| signature.to_vec()));
        }
    }
    Ok(found)
}

impl DirTree {
    /// Parses a dirtree.
    ///
    /// # Errors
    ///
    /// A message with the rule that is broken.
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
    /// Parses a dirmeta, or the xattr of a file in a bare-user repository.
    ///
    /// # Errors
    ///
    /// A message with the rule that is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        normal::check(METADATA, bytes)?;
        let bytes = copy_to_align(bytes);
        let (uid, gid, mode, xattrs) = gv!("(uuua(ayay))").cast(bytes.as_ref()).to_tuple();
        Self::of([uid, gid, mode], xattrs.iter().map(|pair| pair.to_tuple()))
    }

    /// Builds the metadata from the fields that dirmetas and headers have in common: uid, gid and mode, and the
    /// xattrs.
    fn of<'a>(numbers: [&u32; 3], xattrs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<Self, String> {
        let [uid, gid, mode] = numbers.map(|number| u32::from_be(*number));
        Ok(Self { uid, gid, mode, xattrs: xattrs.map(|(name, value)| xattr(name, value)).collect::<Result<_, _>>()? })
    }
}

impl FileHeader {
    /// Parses the header of a content in an archive. Returns it with the size.
    ///
    /// # Errors
    ///
    /// A message with the rule that is broken.
    pub fn parse_archived(bytes: &[u8]) -> Result<(Self, u64), String> {
        normal::check(ARCHIVED, bytes)?;
        let bytes = copy_to_align(bytes);
        let (size, uid, gid, mode, _, target, xattrs) = gv!("(tuuuusa(ayay))").cast(bytes.as_ref()).to_tuple();
        let metadata = Metadata::of([uid, gid, mode], xattrs.iter().map(|pair| pair.to_tuple()))?;
        Ok((Self { metadata, target: target.to_str().to_owned() }, u64::from_be(*size)))
    }

    /// Returns a hasher with the start of a content's checksum: the length of the header, and the header.
    ///
    /// # Errors
    ///
    /// The header cannot be serialised, as there is a NUL in the target.
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
