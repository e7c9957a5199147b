//! One open object, and the check of each block that is read of it.

use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use libcomposefs_content::mutex::lock;
use libcomposefs_image::Digest;
use libcomposefs_image::dump::{Also, escape};
use libcomposefs_image::verity::{BLOCK_SIZE, digest, hash_all_blocks};
use libcomposefs_store::{Object, ObjectError};
use libcomposefs_sys::copy::fill;
use rustix::fs::fstat;

use super::kept::KEPT_MAX;
use super::leaves::OBJECT_CAPACITY;
use super::tree::{MerkleBuilder, PieceHashes, piece_len};
use super::{ContentCaches, ContentDamage, ObjectName, Trust};
use crate::file_system::ReadReply;

/// The whole content of an object, if it is in memory.
type KeptContent = Option<Arc<Vec<u8>>>;

/// Objects up to this length are always read and hashed whole.
const WHOLE_MAX: u64 = 64 << 10;

/// An open object whose length is the one that the image records.
#[derive(Debug)]
pub(crate) struct VerifiedObject {
    object: Object,
    check: BlockCheck,
}

/// The way in which bytes are verified.
#[derive(Debug)]
enum BlockCheck {
    /// The kernel does it (fs-verity), or it is not done.
    None,
    /// By the Merkle tree that leads to the digest.
    Tree(BlockTree),
}

#[derive(Debug)]
struct BlockTree {
    /// A number of this object, different from those of all others.
    number: u64,
    digest: Digest,
    pieces: OnceLock<PieceHashes>,
    /// Held while the tree is computed, which one thread does.
    first: Mutex<()>,
}

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

impl VerifiedObject {
    pub(super) fn new(object: Object, name: &ObjectName<'_>, trust: Trust) -> Result<Self, ContentDamage> {
        object.expect_size(name.size)?;
        let check = match (trust, name.digest) {
            (Trust::Insecure, _) => BlockCheck::None,
            (Trust::Verify, None) => return Err(ContentDamage::NoDigest { payload: shown(name.payload) }),
            (Trust::Verify, Some(digest)) if object.kernel_vouches(&digest)? => BlockCheck::None,
            (Trust::Verify, Some(digest)) => {
                let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
                BlockCheck::Tree(BlockTree { number, digest, pieces: OnceLock::new(), first: Mutex::new(()) })
            }
        };
        Ok(Self { object, check })
    }

    /// Returns true if both are one file; false if that cannot be found out.
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        let number = |object: &Object| fstat(object).map(|stat| (stat.st_dev, stat.st_ino));
        matches!((number(&self.object), number(&other.object)), (Ok(ours), Ok(theirs)) if ours == theirs)
    }

    /// Returns up to `size` bytes from `offset` on, less only at the end.
    pub(super) fn read<'s>(
        &self,
        offset: u64,
        size: u32,
        buffer: &mut Vec<u8>,
        caches: &ContentCaches,
    ) -> Result<ReadReply<'s>, ContentDamage> {
        let len = self.object.size();
        let wanted = offset.min(len)..offset.saturating_add(size.into()).min(len);
        if wanted.is_empty() {
            return Ok(ReadReply::Buffered(0..0));
        }
        let BlockCheck::Tree(tree) = &self.check else {
            self.fill(buffer, &wanted)?;
            return Ok(ReadReply::Buffered(part(&wanted, wanted.start)));
        };
        if len <= WHOLE_MAX || wanted == (0..len) {
            return self.read_whole(&tree.digest, &wanted, buffer);
        }
        if let Some(content) = caches.kept.get(tree.number, wanted.end == len) {
            return Ok(ReadReply::Kept(content, part(&wanted, 0)));
        }
        match self.pieces(tree, buffer, caches)? {
            (_, Some(content)) => Ok(ReadReply::Kept(content, part(&wanted, 0))),
            (pieces, None) => self.read_blocks(tree, pieces, &wanted, buffer, caches),
        }
    }

    /// Reads and hashes all of the object, which needs no tree in memory.
    fn read_whole<'s>(
        &self,
        expected: &Digest,
        wanted: &Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<ReadReply<'s>, ContentDamage> {
        let content = self.fill(buffer, &(0..self.object.size()))?;
        if digest(expected.algorithm(), content) != *expected {
            return Err(self.differs(expected, 0));
        }
        Ok(ReadReply::Buffered(part(wanted, 0)))
    }

    /// Returns the tree, and the content if it was read for that just now.
    fn pieces<'t>(
        &self,
        tree: &'t BlockTree,
        buffer: &mut Vec<u8>,
        caches: &ContentCaches,
    ) -> Result<(&'t PieceHashes, KeptContent), ContentDamage> {
        if let Some(pieces) = tree.pieces.get() {
            return Ok((pieces, None));
        }
        let _guard = lock(&tree.first);
        if let Some(pieces) = tree.pieces.get() {
            return Ok((pieces, caches.kept.get(tree.number, false)));
        }
        let (pieces, content) = self.compute_tree(tree, buffer, caches)?;
        Ok((tree.pieces.get_or_init(|| pieces), content))
    }

    /// Reads the object once for its tree. A content that is not too long is returned, and kept for the next requests.
    fn compute_tree(
        &self,
        tree: &BlockTree,
        buffer: &mut Vec<u8>,
        caches: &ContentCaches,
    ) -> Result<(PieceHashes, KeptContent), ContentDamage> {
        let BlockTree { number, digest, .. } = tree;
        let (len, piece_len) = (self.object.size(), piece_len(digest.algorithm()));
        let mut builder = MerkleBuilder::new(digest.algorithm(), OBJECT_CAPACITY);
        let mut content = None;
        if len <= KEPT_MAX {
            let mut whole = Vec::new();
            self.fill(&mut whole, &(0..len))?.chunks(piece_len).for_each(|piece| builder.add(piece));
            content = Some(Arc::new(whole));
        } else {
            let mut start = 0;
            while start < len {
                let end = len.min(start + piece_len as u64);
                builder.add(self.fill(buffer, &(start..end))?);
                start = end;
            }
        }
        let (pieces, leaves) = builder.finish(digest, len).ok_or_else(|| self.differs(digest, 0))?;
        for (leaves, piece) in leaves.into_iter().zip(0..) {
            caches.leaves.insert(*number, piece, leaves);
        }
        if let Some(content) = &content {
            caches.kept.keep(*number, Arc::clone(content));
        }
        Ok((pieces, content))
    }

    /// Reads the blocks that have the wanted bytes, and compares their hashes. Where these are not known any more,
    /// the whole piece is read.
    fn read_blocks<'s>(
        &self,
        tree: &BlockTree,
        pieces: &PieceHashes,
        wanted: &Range<u64>,
        buffer: &mut Vec<u8>,
        caches: &ContentCaches,
    ) -> Result<ReadReply<'s>, ContentDamage> {
        let (len, block) = (self.object.size(), BLOCK_SIZE as u64);
        let piece_len = piece_len(tree.digest.algorithm()) as u64;
        let (first, last) = (wanted.start / piece_len, (wanted.end - 1) / piece_len);
        let known: Vec<_> = (first..=last).map(|piece| caches.leaves.get(tree.number, piece)).collect();
        let unit = |leaves: Option<&Option<_>>| if matches!(leaves, Some(Some(_))) { block } else { piece_len };
        let start = wanted.start - wanted.start % unit(known.first());
        let end = wanted.end.next_multiple_of(unit(known.last())).min(len);
        let content = self.fill(buffer, &(start..end))?;
        let mut at = start;
        for (leaves, piece) in known.into_iter().zip(first..) {
            let stop = end.min((piece + 1) * piece_len);
            let bytes = content.get(part(&(at..stop), start)).unwrap_or_default();
            let is_right = match leaves {
                Some(leaves) => {
                    let block_in_piece = (at - piece * piece_len) / block;
                    tree.matches(&leaves, block_in_piece as usize, bytes)
                }
                None => {
                    let mut found = Vec::new();
                    hash_all_blocks(tree.digest.algorithm(), bytes, &mut found);
                    let is_right = pieces.match_leaves(piece, &found);
                    if is_right {
                        caches.leaves.insert(tree.number, piece, Arc::new(found));
                    }
                    is_right
                }
            };
            if !is_right {
                return Err(self.differs(&tree.digest, at));
            }
            at = stop;
        }
        Ok(ReadReply::Buffered(part(wanted, start)))
    }

    /// Reads a range of the file to the beginning of the buffer, which grows and never shrinks.
    fn fill<'b>(&self, buffer: &'b mut Vec<u8>, range: &Range<u64>) -> Result<&'b [u8], ContentDamage> {
        let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let path = || self.object.path().to_owned();
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        let read = fill(self.object.as_fd(), bytes, range.start).map_err(|source| ObjectError::Io {
            step: "read",
            path: path(),
            source,
        })?;
        if read < len {
            return Err(ObjectError::Changed { path: path() }.into());
        }
        Ok(bytes)
    }

    fn differs(&self, expected: &Digest, offset: u64) -> ContentDamage {
        let path = shown(self.object.path().as_os_str().as_bytes());
        ContentDamage::Content { path, expected: Box::new(*expected), offset }
    }
}

impl BlockTree {
    /// Returns true if `bytes`, which begin with the block of this number in a piece, have the hashes of the piece.
    fn matches(&self, leaves: &[u8], block: usize, bytes: &[u8]) -> bool {
        let mut found = Vec::new();
        hash_all_blocks(self.digest.algorithm(), bytes, &mut found);
        let expected = leaves.get(block * self.digest.algorithm().digest_len()..);
        !found.is_empty() && expected.is_some_and(|expected| expected.starts_with(&found))
    }
}

/// A range of the object as one of a buffer that begins at `start`.
fn part(range: &Range<u64>, start: u64) -> Range<usize> {
    let index = |offset: u64| usize::try_from(offset.saturating_sub(start)).unwrap_or(usize::MAX);
    index(range.start)..index(range.end)
}

/// Escapes a path for a message: it was chosen by the author of the image.
pub(crate) fn shown(path: &[u8]) -> String {
    let mut text = Vec::new();
    escape(path, Also::NotSpaces, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
