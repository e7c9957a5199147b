//! The file system as a whole: inodes, directories, and the structures around them.

use super::allocator::{Allocator, BlockRun};
use super::bytes::PutLe as _;
use super::directory::{DirectoryBlocks, EntryType};
use super::extents::{self, EXTENT_MAX, FileExtent};
use super::geometry::{BLOCK, DESCRIPTOR_LEN, FIRST_INODE, GROUP_BLOCKS, Geometry, INODE_LEN};
use super::inode::{EXTENTS, Ext4Inode, InodeTime, inode_seed};
use super::superblock::{
    BlockGroup, Ext4Identity, FreeCounts, GroupPlaces, JOURNAL_INODE, checksum_seed, journal_head, superblock,
};
use super::xattrs::{self, XattrPair};
use crate::error::DiskError;
use crate::target::DiskTarget;

/// Number of the root directory.
const ROOT_INODE: u32 = 2;
/// A directory with more links has the count 1 (the feature `dir_nlink`).
const LINKS_MAX: u32 = 65000;
/// Longest symlink that fits in the map of an inode.
const SHORT_SYMLINK: usize = 59;
const STEP: &str = "the root file system";

/// Metadata of a new inode.
#[derive(Clone, Debug, Default)]
pub(crate) struct InodeAttributes<'a> {
    /// Permissions, without the type.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) time: InodeTime,
    pub(crate) xattrs: Vec<XattrPair<'a>>,
}

/// A directory that gets its entries.
#[derive(Debug)]
pub(crate) struct Directory {
    inode: u32,
    blocks: DirectoryBlocks,
    subdirectories: u32,
}

/// A file system in the making.
#[derive(Debug)]
pub(crate) struct Ext4Writer<'t> {
    pub(super) target: DiskTarget<'t>,
    geometry: Geometry,
    identity: Ext4Identity,
    seed: u32,
    pub(super) allocator: Allocator,
    next_inode: u32,
    places: Vec<GroupPlaces>,
    /// Number of directories of each group.
    directories: Vec<u32>,
    journal_map: [u8; 60],
    journal_size: u64,
}

fn journal_blocks(blocks: u64) -> u64 {
    (blocks / 64).clamp(1024, 16384)
}

/// Returns the length of the smallest file system for these numbers of blocks of files and of inodes.
pub(crate) fn minimal_len(blocks: u64, inodes: u64) -> Result<u64, DiskError> {
    let mut len = blocks * BLOCK;
    loop {
        let geometry = Geometry::new(len, inodes)?;
        // Tables are not divided by copies of the superblock: the room before one may stay unused.
        let gaps = geometry.groups_with_superblock().count() as u64 * geometry.table_blocks();
        let needed = blocks + geometry.overhead() + journal_blocks(geometry.blocks) + gaps;
        if geometry.blocks >= needed && geometry.inodes() >= inodes + u64::from(FIRST_INODE) {
            return Ok(len);
        }
        let more = needed.saturating_sub(geometry.blocks).max(2048);
        len = (len + more * BLOCK).next_multiple_of(1 << 20);
    }
}

impl<'t> Ext4Writer<'t> {
    /// Begins a file system of `len` bytes for this number of inodes.
    pub(crate) fn new(
        target: DiskTarget<'t>,
        len: u64,
        inodes: u64,
        identity: Ext4Identity,
    ) -> Result<Self, DiskError> {
        let geometry = Geometry::new(len, inodes)?;
        let mut allocator = Allocator::new(&geometry);
        let mut one = |len| allocator.contiguous(len).ok_or(DiskError::Full);
        let groups = 0..geometry.groups;
        let block_bitmaps = groups.clone().map(|_| one(1)).collect::<Result<Vec<_>, _>>()?;
        let inode_bitmaps = groups.clone().map(|_| one(1)).collect::<Result<Vec<_>, _>>()?;
        let tables = groups.clone().map(|_| one(geometry.table_blocks())).collect::<Result<Vec<_>, _>>()?;
        let places: Vec<_> = block_bitmaps
            .into_iter()
            .zip(inode_bitmaps)
            .zip(tables)
            .map(|((block_bitmap, inode_bitmap), inode_table)| GroupPlaces { block_bitmap, inode_bitmap, inode_table })
            .collect();
        for place in &places {
            target.zero(place.inode_table * BLOCK, geometry.table_blocks() * BLOCK)?;
        }
        let mut writer = Self {
            seed: checksum_seed(&identity),
            directories: vec![0; places.len()],
            journal_size: journal_blocks(geometry.blocks) * BLOCK,
            target,
            geometry,
            identity,
            allocator,
            next_inode: FIRST_INODE,
            places,
            journal_map: [0; 60],
        };
        writer.journal()?;
        Ok(writer)
    }

    fn journal(&mut self) -> Result<(), DiskError> {
        let blocks = self.journal_size / BLOCK;
        let start = self.allocator.contiguous(blocks).ok_or(DiskError::Full)?;
        self.target.zero(start * BLOCK, self.journal_size)?;
        self.target.write(start * BLOCK, &journal_head(blocks as u32)).map_err(DiskError::write(STEP))?;
        let extent = FileExtent { logical: 0, run: BlockRun { start, len: blocks } };
        (self.journal_map, _) = extents::encode(&[extent], &[], 0);
        let attributes = InodeAttributes { mode: 0o600, time: self.time(), ..InodeAttributes::default() };
        let inode = self.inode(0o100_000, &attributes, self.journal_size);
        self.put_inode(JOURNAL_INODE, Ext4Inode { blocks, flags: EXTENTS, map: self.journal_map, ..inode })
    }

    fn time(&self) -> InodeTime {
        InodeTime { sec: self.identity.time.into(), nsec: 0 }
    }

    /// Begins the root directory, with the directory `lost+found`. It is called once.
    pub(crate) fn root(&mut self) -> Result<Directory, DiskError> {
        let blocks = DirectoryBlocks::new(ROOT_INODE, ROOT_INODE);
        let mut root = Directory { inode: ROOT_INODE, blocks, subdirectories: 0 };
        let found = self.begin_directory(&mut root, b"lost+found")?;
        let attributes = InodeAttributes { mode: 0o700, time: self.time(), ..InodeAttributes::default() };
        self.end_directory(found, &attributes)?;
        Ok(root)
    }

    /// Begins a directory in another one.
    pub(crate) fn begin_directory(&mut self, parent: &mut Directory, name: &[u8]) -> Result<Directory, DiskError> {
        let inode = self.new_inode()?;
        parent.blocks.push(name, inode, EntryType::Directory);
        parent.subdirectories += 1;
        Ok(Directory { inode, blocks: DirectoryBlocks::new(inode, parent.inode), subdirectories: 0 })
    }

    /// Writes a directory that has all entries.
    pub(crate) fn end_directory(
        &mut self,
        directory: Directory,
        attributes: &InodeAttributes<'_>,
    ) -> Result<(), DiskError> {
        let Directory { inode: number, blocks, subdirectories } = directory;
        let bytes = blocks.finish(inode_seed(self.seed, number));
        let links = 2_u32.saturating_add(subdirectories);
        let links = if links > LINKS_MAX { 1 } else { links as u16 };
        let group = self.group_of(number);
        self.directories[group] += 1;
        self.whole(number, 0o040_000, &bytes, attributes, links).map(drop)
    }

    /// Writes a symlink and returns its inode.
    pub(crate) fn symlink(
        &mut self,
        target: &[u8],
        attributes: &InodeAttributes<'_>,
        links: u16,
    ) -> Result<u32, DiskError> {
        let number = self.new_inode()?;
        let attributes = &InodeAttributes { mode: 0o777, ..attributes.clone() };
        if target.len() > SHORT_SYMLINK {
            return self.whole(number, 0o120_000, target, attributes, links);
        }
        let mut inode = Ext4Inode { links, ..self.inode(0o120_000, attributes, target.len() as u64) };
        inode.map[..target.len()].copy_from_slice(target);
        self.put_with_xattrs(number, inode, attributes)?;
        Ok(number)
    }

    /// Writes a device, a FIFO or a socket and returns its inode. `device` is in the kernel's encoding of 32 bits.
    pub(crate) fn special(
        &mut self,
        kind: u16,
        device: u32,
        attributes: &InodeAttributes<'_>,
        links: u16,
    ) -> Result<u32, DiskError> {
        let number = self.new_inode()?;
        let mut inode = Ext4Inode { links, ..self.inode(kind, attributes, 0) };
        // Numbers of 8 bits have a form and a place of their own.
        inode.map.put32(if device <= 0xffff { 0 } else { 4 }, device);
        self.put_with_xattrs(number, inode, attributes)?;
        Ok(number)
    }

    /// Gives an inode a name.
    pub(crate) fn link(&mut self, directory: &mut Directory, name: &[u8], inode: u32, kind: EntryType) {
        directory.blocks.push(name, inode, kind);
    }

    /// Writes an inode with a content that is in memory.
    fn whole(
        &mut self,
        number: u32,
        kind: u16,
        bytes: &[u8],
        attributes: &InodeAttributes<'_>,
        links: u16,
    ) -> Result<u32, DiskError> {
        let (mut extents, mut logical) = (Vec::new(), 0);
        let blocks = (bytes.len() as u64).div_ceil(BLOCK);
        while logical < blocks {
            let run = self.allocator.run((blocks - logical).min(EXTENT_MAX)).ok_or(DiskError::Full)?;
            extents.push(FileExtent { logical: logical as u32, run });
            let from = (logical * BLOCK) as usize;
            let part = &bytes[from..bytes.len().min(from + (run.len * BLOCK) as usize)];
            self.target.zero(run.start * BLOCK, run.len * BLOCK)?;
            self.target.write(run.start * BLOCK, part).map_err(DiskError::write(STEP))?;
            logical += run.len;
        }
        let inode = Ext4Inode { flags: EXTENTS, links, ..self.inode(kind, attributes, bytes.len() as u64) };
        self.put_mapped(number, inode, &extents, attributes)?;
        Ok(number)
    }

    pub(super) fn put_mapped(
        &mut self,
        number: u32,
        mut inode: Ext4Inode,
        extents: &[FileExtent],
        attributes: &InodeAttributes<'_>,
    ) -> Result<(), DiskError> {
        let count = extents::leaf_count(extents.len()).ok_or(DiskError::FileTooLarge { size: inode.size })?;
        let places = (0..count).map(|_| self.allocator.contiguous(1).ok_or(DiskError::Full));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let (map, leaves) = extents::encode(extents, &places, inode_seed(self.seed, number));
        for (place, leaf) in places.iter().zip(&leaves) {
            self.target.write(place * BLOCK, leaf).map_err(DiskError::write(STEP))?;
        }
        inode.map = map;
        inode.blocks = extents.iter().map(|extent| extent.run.len).sum::<u64>() + leaves.len() as u64;
        self.put_with_xattrs(number, inode, attributes)
    }

    fn put_with_xattrs(
        &mut self,
        number: u32,
        mut inode: Ext4Inode,
        attributes: &InodeAttributes<'_>,
    ) -> Result<(), DiskError> {
        if !attributes.xattrs.is_empty() {
            let place = self.allocator.contiguous(1).ok_or(DiskError::Full)?;
            let reason = |reason| DiskError::State { path: String::new(), reason };
            let block = xattrs::encode(&attributes.xattrs, place, self.seed).map_err(reason)?;
            self.target.write(place * BLOCK, &block).map_err(DiskError::write(STEP))?;
            inode.xattr_block = place;
            inode.blocks += 1;
        }
        self.put_inode(number, inode)
    }

    pub(super) fn inode(&self, kind: u16, attributes: &InodeAttributes<'_>, size: u64) -> Ext4Inode {
        Ext4Inode {
            mode: kind | attributes.mode & 0o7777,
            uid: attributes.uid,
            gid: attributes.gid,
            size,
            time: attributes.time,
            links: 1,
            blocks: 0,
            flags: 0,
            map: [0; 60],
            xattr_block: 0,
        }
    }

    pub(super) fn new_inode(&mut self) -> Result<u32, DiskError> {
        self.target.proceed()?;
        let number = self.next_inode;
        if u64::from(number) > self.geometry.inodes() {
            return Err(DiskError::Full);
        }
        self.next_inode += 1;
        Ok(number)
    }

    fn group_of(&self, inode: u32) -> usize {
        (u64::from(inode - 1) / self.geometry.inodes_per_group) as usize
    }

    fn put_inode(&mut self, number: u32, inode: Ext4Inode) -> Result<(), DiskError> {
        let index = u64::from(number - 1) % self.geometry.inodes_per_group;
        let table = self.places[self.group_of(number)].inode_table;
        let bytes = inode.encode(inode_seed(self.seed, number));
        self.target.write(table * BLOCK + index * INODE_LEN, &bytes).map_err(DiskError::write(STEP))
    }

    /// Writes the bitmaps, the group descriptors and the superblocks.
    pub(crate) fn finish(self) -> Result<(), DiskError> {
        let Self { target, geometry, identity, seed, allocator, next_inode, places, directories, .. } = self;
        let used = allocator.finish();
        let write = |block: u64, bytes: &[u8]| target.write(block * BLOCK, bytes).map_err(DiskError::write(STEP));
        let mut descriptors = vec![0; (geometry.descriptor_blocks * BLOCK) as usize];
        let mut free = FreeCounts::default();
        for (number, (places, directories)) in (0..).zip(places.into_iter().zip(directories)) {
            let group = BlockGroup::new(number, &geometry, places, &used, u64::from(next_inode - 1), directories);
            write(places.block_bitmap, &group.block_bitmap)?;
            write(places.inode_bitmap, &group.inode_bitmap)?;
            let at = (number * DESCRIPTOR_LEN) as usize;
            descriptors[at..at + DESCRIPTOR_LEN as usize].copy_from_slice(&group.descriptor(number, &geometry, seed));
            free.blocks += group.free.blocks;
            free.inodes += group.free.inodes;
        }
        for group in geometry.groups_with_superblock() {
            let bytes = superblock(&geometry, &identity, free, &self.journal_map, self.journal_size, group);
            let mut block = vec![0; BLOCK as usize];
            // The first 1024 bytes of a disk are for a boot loader.
            let at = if group == 0 { 1024 } else { 0 };
            block[at..at + 1024].copy_from_slice(&bytes);
            target.zero(group * GROUP_BLOCKS * BLOCK, (1 + geometry.descriptor_blocks) * BLOCK)?;
            write(group * GROUP_BLOCKS, &block)?;
            write(group * GROUP_BLOCKS + 1, &descriptors)?;
        }
        Ok(())
    }
}
