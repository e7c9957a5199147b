//! A regular file while its content arrives.

use libcomposefs_image::verity::{DESCRIPTOR_LEN, StoredTree, hash_all_blocks, hash_whole_blocks};
use libcomposefs_image::{Algorithm, Digest};

use super::allocator::BlockRun;
use super::extents::{EXTENT_MAX, FileExtent};
use super::geometry::BLOCK;
use super::inode::{EXTENTS, Ext4Inode, VERITY};
use super::writer::{Ext4Writer, InodeAttributes};
use crate::error::DiskError;

/// The tree begins at a multiple of this after the content (`fs/ext4/verity.c`).
const TREE_ALIGNMENT: u64 = 65536;

/// A file that gets its content in pieces, and whose blocks are already reserved.
#[derive(Debug)]
pub(crate) struct UnfinishedFile {
    size: u64,
    written: u64,
    extents: Vec<FileExtent>,
    /// For a file with fs-verity: its algorithm, and the hashes of its blocks.
    hashes: Option<(Algorithm, Vec<u8>)>,
}

/// Returns the blocks of the tree and the descriptor of a file with fs-verity.
fn tail_blocks(algorithm: Algorithm, size: u64) -> u64 {
    StoredTree::levels_len(algorithm, size) / BLOCK + 1
}

/// Returns the blocks of a file with fs-verity, with its tree and descriptor.
pub(crate) fn verity_blocks(algorithm: Algorithm, size: u64) -> u64 {
    size.div_ceil(BLOCK) + tail_blocks(algorithm, size)
}

impl Ext4Writer<'_> {
    /// Begins a file of `size` bytes; with an algorithm, it gets fs-verity.
    pub(crate) fn begin_file(&mut self, size: u64, verity: Option<Algorithm>) -> Result<UnfinishedFile, DiskError> {
        let too_large = || DiskError::FileTooLarge { size };
        let logical_end = size.checked_add(size / 32 + 2 * TREE_ALIGNMENT).ok_or_else(too_large)? / BLOCK;
        u32::try_from(logical_end).map_err(|_| too_large())?;
        let mut file =
            UnfinishedFile { size, written: 0, extents: Vec::new(), hashes: verity.map(|one| (one, Vec::new())) };
        self.reserve(&mut file, 0, size.div_ceil(BLOCK))?;
        if let Some(algorithm) = verity {
            let tail = size.next_multiple_of(TREE_ALIGNMENT) / BLOCK;
            self.reserve(&mut file, tail, tail_blocks(algorithm, size))?;
        }
        Ok(file)
    }

    fn reserve(&mut self, file: &mut UnfinishedFile, mut logical: u64, mut count: u64) -> Result<(), DiskError> {
        while count > 0 {
            let run = self.allocator.run(count.min(EXTENT_MAX)).ok_or(DiskError::Full)?;
            file.extents.push(FileExtent { logical: logical as u32, run });
            (logical, count) = (logical + run.len, count - run.len);
        }
        Ok(())
    }

    /// Writes the next bytes. All pieces but the last are whole blocks.
    pub(crate) fn write_piece(&mut self, file: &mut UnfinishedFile, piece: &[u8]) -> Result<(), DiskError> {
        self.target.proceed()?;
        if let Some((algorithm, hashes)) = &mut file.hashes {
            let rest = hash_whole_blocks(*algorithm, piece, hashes);
            hash_all_blocks(*algorithm, rest, hashes);
        }
        self.write_at(file, file.written / BLOCK, piece)?;
        file.written += piece.len() as u64;
        Ok(())
    }

    /// Writes bytes that begin at a block of the file.
    fn write_at(&self, file: &UnfinishedFile, mut logical: u64, mut bytes: &[u8]) -> Result<(), DiskError> {
        while !bytes.is_empty() {
            let after = file.extents.partition_point(|extent| u64::from(extent.logical) <= logical);
            let FileExtent { logical: first, run } = file.extents[after - 1];
            let BlockRun { start, len } = run;
            let skipped = logical - u64::from(first);
            let room = usize::try_from((len - skipped) * BLOCK).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.target.write((start + skipped) * BLOCK, now).map_err(DiskError::write("the root file system"))?;
            // The rest of a last block that is not whole is zero.
            let partial = now.len() as u64 % BLOCK;
            if partial > 0 {
                self.target.zero((start + skipped) * BLOCK + now.len() as u64, BLOCK - partial)?;
            }
            logical += now.len() as u64 / BLOCK;
            bytes = later;
        }
        Ok(())
    }

    /// Writes a regular file whose content has arrived, and returns its inode and, if it has fs-verity, its digest.
    pub(crate) fn end_file(
        &mut self,
        mut file: UnfinishedFile,
        attributes: &InodeAttributes<'_>,
        links: u16,
    ) -> Result<(u32, Option<Digest>), DiskError> {
        let digest = self.end_content(&mut file)?;
        let number = self.new_inode()?;
        let flags = if digest.is_some() { EXTENTS | VERITY } else { EXTENTS };
        let inode = Ext4Inode { flags, links, ..self.inode(0o100_000, attributes, file.size) };
        self.put_mapped(number, inode, &file.extents, attributes)?;
        Ok((number, digest))
    }

    /// Writes the tree and the descriptor, and returns the digest of a file with fs-verity.
    fn end_content(&mut self, file: &mut UnfinishedFile) -> Result<Option<Digest>, DiskError> {
        let Some((algorithm, hashes)) = file.hashes.take() else { return Ok(None) };
        let stored = StoredTree::of_level(algorithm, file.size, hashes);
        let first = file.size.next_multiple_of(TREE_ALIGNMENT) / BLOCK;
        self.write_at(file, first, &stored.levels)?;
        // The descriptor begins a block, and its length ends the last one.
        let mut last = vec![0; BLOCK as usize];
        last[..DESCRIPTOR_LEN].copy_from_slice(&stored.descriptor);
        let end = last.len();
        last[end - 4..].copy_from_slice(&(DESCRIPTOR_LEN as u32).to_le_bytes());
        self.write_at(file, first + stored.levels.len() as u64 / BLOCK, &last)?;
        Ok(Some(stored.digest))
    }
}
