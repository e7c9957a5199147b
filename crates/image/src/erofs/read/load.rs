//! A whole image as a tree.

use super::error::{Defect, ReadError};
use super::link_places::{self, Order};
use super::overlay::{PARENT_MARKS, WHITEOUT_MARKS};
use super::reader::{ImageReader, RawInode};
use super::walk::{Again, Walk};
use crate::digest::Algorithm;
use crate::erofs::dirent::type_number;
use crate::tree::{InodeId, Kind, Tree};

/// The tree of an image, and what the image says beside it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoadedImage {
    /// The tree. Writing it in the image's format version gives the same bytes, if a writer of that version made them.
    pub tree: Tree,
    /// The method by which the places of hard-linked inodes were found.
    pub order: Order,
    /// The number of inodes of the tree that are compact; the others are extended.
    pub compact: usize,
    /// The number of whiteouts in the root that hide the object directories; they are not part of the tree.
    pub stubs: usize,
    nids: Vec<u32>,
}

impl LoadedImage {
    /// The number in the image of an inode of the tree.
    #[must_use]
    pub fn nid(&self, inode: InodeId) -> u64 {
        self.nids[inode.index()].into()
    }

    /// The inode in the image of an inode of the tree.
    pub fn raw(&self, reader: &ImageReader<'_>, inode: InodeId) -> Result<RawInode, ReadError> {
        reader.inode(self.nid(inode))
    }
}

/// Reads the tree of an image: all of it, or if `only` is not empty, the root and those of its entries, with what they
/// hold. What a writer adds for overlayfs (stubs, escapes, whiteout markers) is taken away.
pub fn load(reader: &ImageReader<'_>, only: &[&[u8]]) -> Result<LoadedImage, ReadError> {
    let mut walk = Walk::new(reader, only, Algorithm::default());
    let mut done = walk.load();
    if let Some(algorithm) = walk.other_algorithm {
        walk = Walk::new(reader, only, algorithm);
        done = walk.load();
    }
    match done {
        Ok(order) => {
            let Walk { builder, nids, compact, stubs, .. } = walk;
            Ok(LoadedImage { tree: builder.finish(), order, compact, stubs: stubs.len(), nids })
        }
        Err(error) => Err(walk.with_path(error)),
    }
}

impl Walk<'_, '_> {
    fn load(&mut self) -> Result<Order, ReadError> {
        self.run()?;
        let order = self.settle_links()?;
        self.restore_whiteouts()?;
        Ok(order)
    }

    /// Gives the second names their inodes, and every inode its place among its names.
    fn settle_links(&mut self) -> Result<Order, ReadError> {
        if self.again.is_empty() {
            return Ok(Order::NoLinks);
        }
        let mut ids: Vec<InodeId> = (0..self.nids.len() as u32).map(InodeId).collect();
        ids.sort_unstable_by_key(|id| self.nids[id.index()]);
        for index in 0..self.again.len() {
            let Again { entry, nid, file_type, offset } = self.again[index];
            let found = ids.binary_search_by_key(&nid, |id| self.nids[id.index()]).ok().map(|index| ids[index]);
            let kind = found.map_or(Kind::CharDevice, |id| self.builder.tree().inode(id).kind());
            let defect = match found {
                Some(_) if kind == Kind::Directory => Defect::DirectoryTwice,
                Some(id) if type_number(kind) == file_type => {
                    self.builder.set_target(entry, id, true);
                    continue;
                }
                // What was met and is not in the tree is a stub.
                None if type_number(kind) == file_type => Defect::StubTwice,
                _ => Defect::FileType { found: file_type, expected: type_number(kind) },
            };
            let mut path = Vec::new();
            self.builder.tree().places().push_entry_path(entry, &mut path);
            return Err(ReadError { path: Some(path), ..defect.of(nid.into(), offset) });
        }
        let Self { builder, nids, whiteouts, stubs, .. } = self;
        Ok(link_places::settle(builder, nids, stubs, |tree, entry, inode| {
            !whiteouts.may_be_whiteout(inode) || whiteouts.can_hold(tree.directory_of(entry))
        }))
    }

    fn restore_whiteouts(&mut self) -> Result<(), ReadError> {
        let (found, directories) = self.whiteouts.find(self.builder.tree());
        for (inode, marks) in
            found.iter().map(|id| (*id, WHITEOUT_MARKS)).chain(directories.iter().map(|id| (*id, PARENT_MARKS)))
        {
            let raw = self.reader.inode(self.nids[inode.index()].into())?;
            let Self { reader, collector, claims, builder, .. } = self;
            let set = collector.collect(reader, &raw, marks, claims, builder.xattrs())?.set;
            builder.set_xattrs(inode, set);
        }
        found.into_iter().for_each(|inode| self.builder.make_whiteout(inode));
        Ok(())
    }

    /// Adds the path to an error, as far as it was come by.
    fn with_path(&self, mut error: ReadError) -> ReadError {
        if error.path.is_some() {
            return error;
        }
        let known = error.nid.and_then(|nid| self.nids.iter().position(|&known| u64::from(known) == nid));
        let places = self.builder.tree().places();
        let mut path = Vec::new();
        match (known, self.at) {
            (Some(index), _) => places.push_path(InodeId(index as u32), &mut path),
            (None, Some((directory, name))) if !matches!(error.defect, Defect::Overlap { .. }) => {
                places.push_path(directory, &mut path);
                if directory != InodeId::ROOT {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
            }
            _ => return error,
        }
        error.path = Some(path);
        error
    }
}
