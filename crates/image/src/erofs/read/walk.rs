//! From the root through all directories, breadth first: every inode once, every name once.

use super::attributes::XattrCollector;
use super::byte_map::UsedBytes;
use super::content::{Flat, RawContent};
use super::dirents::RawEntry;
use super::error::{Defect, ReadError};
use super::link_places::Stub;
use super::overlay::{Backing, OPAQUE_MARKS, PARENT_MARKS, WHITEOUT_MARKS, WhiteoutMarks};
use super::reader::{ImageReader, RawInode};
use super::whiteouts::Whiteouts;
use crate::digest::Algorithm;
use crate::display::shown;
use crate::erofs::constants::{BLOCK, INODES_OFFSET, NODE_ALIGN, SUPERBLOCK_OFFSET, round_up};
use crate::erofs::dirent::type_number;
use crate::erofs::format_version::PROFILES;
use crate::erofs::header::HEADER_LEN;
use crate::erofs::record::RecordForm;
use crate::tree::{EntryId, InodeId, Kind, MAX_INLINE, NewInode, OrderedBuilder, SetId};

/// A name met for an inode that has one already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    pub(super) entry: EntryId,
    pub(super) nid: u32,
    pub(super) file_type: u8,
    /// The offset of the entry in the file.
    pub(super) offset: u64,
}

/// The state of the walk over all inodes.
#[derive(Debug)]
pub(super) struct Walk<'r, 'a> {
    pub(super) reader: &'r ImageReader<'a>,
    /// The names of the root to be read; all of them if empty.
    only: &'r [&'r [u8]],
    pub(super) builder: OrderedBuilder,
    /// The nid of each inode of the tree.
    pub(super) nids: Vec<u32>,
    pub(super) again: Vec<Again>,
    pub(super) whiteouts: Whiteouts,
    pub(super) claims: UsedBytes,
    pub(super) collector: XattrCollector<'a>,
    /// The number of compact inodes, not counting stubs.
    pub(super) compact: usize,
    pub(super) stubs: Vec<Stub>,
    /// Set if a digest determined the algorithm; then the algorithm of the first digest that differs from the expected
    /// one.
    algorithm_is_sure: bool,
    pub(super) other_algorithm: Option<Algorithm>,
    /// The directories, in the order in which they were met.
    directories: Vec<InodeId>,
    /// A bit for each nid that was met.
    met: Vec<u64>,
    /// The directory and name being looked at.
    pub(super) at: Option<(InodeId, &'a [u8])>,
    /// Content in two pieces, joined.
    content: Vec<u8>,
    /// Set if the format version is one that the writer writes.
    is_written: bool,
}

impl<'r, 'a> Walk<'r, 'a> {
    pub(super) fn new(reader: &'r ImageReader<'a>, only: &'r [&'r [u8]], algorithm: Algorithm) -> Self {
        let len = reader.bytes().len();
        let version = reader.header().format_version;
        Self {
            reader,
            only,
            builder: OrderedBuilder::new(algorithm),
            nids: Vec::new(),
            again: Vec::new(),
            whiteouts: Whiteouts::new(version),
            claims: UsedBytes::new(len as u64),
            collector: XattrCollector::default(),
            compact: 0,
            stubs: Vec::new(),
            algorithm_is_sure: false,
            other_algorithm: None,
            directories: Vec::new(),
            met: vec![0; len / NODE_ALIGN as usize / 64 + 1],
            at: None,
            content: Vec::new(),
            is_written: PROFILES.iter().any(|profile| profile.format_version == version),
        }
    }

    /// Walks the whole tree. Second names are left in `again`.
    pub(super) fn run(&mut self) -> Result<(), ReadError> {
        self.claims.take(0, HEADER_LEN as u64, None)?;
        self.claims.take(SUPERBLOCK_OFFSET, INODES_OFFSET - SUPERBLOCK_OFFSET, None)?;
        let root = self.reader.root()?;
        self.meet(root.nid())?;
        self.push(&root)?;
        let mut next = 0;
        while let Some(&directory) = self.directories.get(next) {
            next += 1;
            self.read_directory(directory)?;
        }
        self.claims.check()
    }

    fn nid(&self, inode: InodeId) -> u64 {
        self.nids[inode.index()].into()
    }

    fn read_directory(&mut self, directory: InodeId) -> Result<(), ReadError> {
        let inode = self.reader.inode(self.nid(directory))?;
        let parent = self.nid(self.builder.tree().parent(directory));
        self.builder.open_directory(directory);
        let mut dots = [(".", inode.nid(), false), ("..", parent, false)];
        let mut before: Option<&[u8]> = None;
        self.at = None;
        for entry in self.reader.entries(&inode)? {
            let entry = entry?;
            let name = entry.name;
            check_order(&inode, before, &entry)?;
            before = Some(name);
            if let Some((name, nid, met)) = dots.iter_mut().find(|(dot, ..)| dot.as_bytes() == name) {
                *met = true;
                if entry.nid != *nid {
                    let defect = Defect::DotElsewhere { name, found: entry.nid, expected: *nid };
                    return Err(inode.error(defect, entry.offset));
                }
            } else if directory != InodeId::ROOT || self.only.is_empty() || self.only.contains(&name) {
                self.at = Some((directory, name));
                self.take_entry(&entry)?;
                self.at = None;
            }
        }
        match dots.iter().find(|(.., met)| !met) {
            Some((name, ..)) => Err(inode.error(Defect::DotMissing(name), inode.offset())),
            None => Ok(()),
        }
    }

    fn take_entry(&mut self, entry: &RawEntry<'a>) -> Result<(), ReadError> {
        let &RawEntry { name, nid, file_type, offset, .. } = entry;
        let too_many = |error| Defect::Tree(error).of(nid, offset);
        if !self.meet(nid)? {
            let entry = self.builder.push_pending(name).map_err(too_many)?;
            // It was met, so it has 32 bits.
            self.again.push(Again { entry, nid: nid as u32, file_type, offset });
            return Ok(());
        }
        let inode = self.reader.inode(nid)?;
        let expected = type_number(inode.kind());
        if file_type != expected {
            return Err(Defect::FileType { found: file_type, expected }.of(nid, offset));
        }
        if self.is_written && inode.is_whiteout() {
            return self.pass_stub(&inode);
        }
        let id = self.push(&inode)?;
        self.builder.push_entry(name, id).map_err(too_many)?;
        Ok(())
    }

    /// A whiteout of the image itself hides what is not part of the tree: in the root one for each object directory.
    fn pass_stub(&mut self, inode: &RawInode) -> Result<(), ReadError> {
        let nlink = inode.record().nlink;
        if nlink > 1 {
            return Err(inode.error(Defect::StubLinks(nlink), inode.offset()));
        }
        let before = EntryId(self.builder.tree().entry_count() as u32);
        // A nid with a bit in `met` fits in 32 bits.
        self.stubs.push(Stub { nid: inode.nid() as u32, before });
        self.claims.take(inode.offset(), inode.tail_offset() - inode.offset(), u32::try_from(inode.nid()).ok())
    }

    /// Notes that an inode was met. `false` if it had been before.
    fn meet(&mut self, nid: u64) -> Result<bool, ReadError> {
        let outside = || Defect::InodeOutside { nid }.of(nid, nid.saturating_mul(NODE_ALIGN));
        let index = u32::try_from(nid).map_err(|_| outside())?;
        let word = self.met.get_mut(index as usize / 64).ok_or_else(outside)?;
        let bit = 1 << (index % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        Ok(is_new)
    }

    /// Adds an inode to the tree.
    fn push(&mut self, inode: &RawInode) -> Result<InodeId, ReadError> {
        let content = self.reader.content(inode)?;
        self.claim(inode, &content)?;
        let Self { reader, collector, claims, builder, .. } = self;
        let attributes = collector.collect(reader, inode, WhiteoutMarks::default(), claims, builder.xattrs())?;
        let backing = attributes.backing.backing(inode)?;
        self.check_algorithm(inode, backing)?;
        let record = inode.record();
        let mut new = NewInode {
            mode: record.mode.into(),
            size: record.size,
            nlink: record.nlink,
            uid: record.uid,
            gid: record.gid,
            rdev: inode.rdev(),
            mtime: record.mtime,
            ..NewInode::default()
        };
        match (inode.kind(), content) {
            (Kind::Symlink, RawContent::Flat(flat)) => new.payload = Some(target(inode, flat)?),
            (Kind::Regular, RawContent::Flat(flat)) => new.content = self.inline(inode, flat)?,
            (_, RawContent::External { .. }) => {
                let Backing { payload, digest } = backing.unwrap_or_default();
                (new.payload, new.digest) = (payload, digest);
            }
            (_, RawContent::Special) => new.size = self.special_size(inode),
            (_, RawContent::Flat(_)) => {}
        }
        let content = std::mem::take(&mut self.content);
        if !content.is_empty() {
            new.content = Some(&content);
        }
        let id = self.push_new(inode, &new, attributes.set)?;
        self.content = content;
        self.content.clear();
        self.note_marks(inode, id, attributes.marks);
        Ok(id)
    }

    fn push_new(&mut self, inode: &RawInode, new: &NewInode<'_>, set: SetId) -> Result<InodeId, ReadError> {
        let id = self.builder.push_inode(new, set).map_err(|e| inode.error(Defect::Tree(e), inode.offset()))?;
        // A nid with a bit in `met` fits in 32 bits.
        self.nids.push(inode.nid() as u32);
        self.compact += usize::from(inode.form() == RecordForm::Compact);
        if inode.kind() == Kind::Directory {
            self.directories.push(id);
        }
        Ok(id)
    }

    fn claim(&mut self, inode: &RawInode, content: &RawContent<'_>) -> Result<(), ReadError> {
        let nid = u32::try_from(inode.nid()).ok();
        let tail_len = match content {
            RawContent::Flat(flat) => {
                self.claims.take(flat.blocks_offset, round_up(flat.blocks.len() as u64, BLOCK), nid)?;
                flat.tail.len() as u64
            }
            RawContent::External { pointers_len, .. } => *pointers_len,
            RawContent::Special => 0,
        };
        self.claims.take(inode.offset(), inode.tail_offset() - inode.offset() + tail_len, nid)
    }

    /// Checks that all digests of a tree have the algorithm of the first one.
    fn check_algorithm(&mut self, inode: &RawInode, backing: Option<Backing<'a>>) -> Result<(), ReadError> {
        let Some(digest) = backing.and_then(|backing| backing.digest) else { return Ok(()) };
        let (found, expected) = (digest.algorithm(), self.builder.tree().algorithm());
        if found != expected {
            self.other_algorithm = Some(found).filter(|_| !self.algorithm_is_sure);
            return Err(inode.error(Defect::Algorithm { found, expected }, inode.xattr_offset()));
        }
        self.algorithm_is_sure = true;
        Ok(())
    }

    /// The content of a file in the image. What is in two pieces is joined in `self.content`.
    fn inline(&mut self, inode: &RawInode, flat: Flat<'a>) -> Result<Option<&'a [u8]>, ReadError> {
        let size = inode.record().size;
        if size > MAX_INLINE as u64 {
            return Err(inode.error(Defect::ContentTooLong(size), inode.offset()));
        }
        match (flat.blocks, flat.tail) {
            ([], []) => Ok(None),
            ([], piece) | (piece, []) => Ok(Some(piece)),
            (blocks, tail) => {
                self.content.extend_from_slice(blocks);
                self.content.extend_from_slice(tail);
                Ok(None)
            }
        }
    }

    /// The size of a device, FIFO or socket. Images have 0 there, but the size in the tree shows in the form: nothing
    /// else made this inode extended.
    fn special_size(&self, inode: &RawInode) -> u64 {
        let record = inode.record();
        let narrow = |value: u32| value <= u16::MAX.into();
        let by_size = self.is_written
            && record.size == 0
            && record.form == RecordForm::Extended
            && record.mtime == self.reader.superblock().build_time
            && [record.nlink, record.uid, record.gid].into_iter().all(narrow);
        if by_size { u64::from(u32::MAX) + 1 } else { record.size }
    }

    fn note_marks(&mut self, inode: &RawInode, id: InodeId, marks: WhiteoutMarks) {
        let counting = match inode.kind() {
            Kind::Directory => PARENT_MARKS.with(OPAQUE_MARKS),
            Kind::Regular if inode.record().size == 0 && !inode.is_external() => WHITEOUT_MARKS,
            _ => WhiteoutMarks::default(),
        };
        self.whiteouts.note(id, marks.of_those(counting));
    }
}

/// Names of a directory ascend, the dots among them.
pub(in crate::erofs) fn check_order(
    inode: &RawInode,
    before: Option<&[u8]>,
    entry: &RawEntry<'_>,
) -> Result<(), ReadError> {
    let Some(before) = before else { return Ok(()) };
    let defect = match before.cmp(entry.name) {
        std::cmp::Ordering::Less => return Ok(()),
        std::cmp::Ordering::Equal => Defect::NameTwice(shown(before)),
        std::cmp::Ordering::Greater => Defect::NameOrder { name: shown(entry.name), before: shown(before) },
    };
    Err(inode.error(defect, entry.offset))
}

/// The target of a symlink; its limits are the tree's to check.
pub(in crate::erofs) fn target<'a>(inode: &RawInode, flat: Flat<'a>) -> Result<&'a [u8], ReadError> {
    let target = match (flat.blocks, flat.tail) {
        ([], target) | (target, []) => target,
        _ => return Err(inode.error(Defect::SymlinkTarget(inode.record().size), inode.offset())),
    };
    match memchr::memchr(0, target) {
        Some(_) => Err(inode.error(Defect::SymlinkNul, inode.offset())),
        None => Ok(target),
    }
}
