//! Shows an image as a mount does, one name at a time.
//!
//! [`View`] does for one inode what [`load`](super::load) does for a whole image: it hides stubs, omits the attributes
//! that the writer added, and turns whiteouts back into those of the source. It reads only the parts it is asked for,
//! and so it checks only these: `load` alone finds two inodes that share a byte, or a directory in two places. If one
//! name of a hard-linked whiteout is in a directory that the writer did not mark, only `load` can know the other name;
//! here the inode is the empty file of the image.

use super::dirents::RawEntries;
use super::error::{Defect, ReadError};
use super::load::LoadedImage;
use super::overlay::{Meaning, PARENT_MARKS, WHITEOUT_MARKS, WhiteoutMarks, meaning};
use super::reader::{ImageReader, RawInode};
use super::walk::{check_order, target};
use super::whiteouts::needed_marks;
use crate::erofs::dirent::type_number;
use crate::erofs::xattr::prefix;
use crate::tree::{InodeId, Kind, MAX_PATH, MODE_TYPE, TreeError};

/// An image, by what a mount shows of it.
#[derive(Clone, Copy, Debug)]
pub struct View<'r, 'a> {
    reader: &'r ImageReader<'a>,
    /// The markers of a directory with whiteouts; `None` for format versions that the writer does not write.
    needed: Option<WhiteoutMarks>,
}

/// An inode as it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewNode {
    raw: RawInode,
    is_restored: bool,
}

/// A name in a directory, with what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child<'a> {
    /// The name in the directory.
    pub name: &'a [u8],
    /// The inode that the name leads to.
    pub node: ViewNode,
}

/// An attribute of an inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnXattr<'a> {
    /// Its name, as a mount shows it.
    pub name: Vec<u8>,
    /// The value of the attribute.
    pub value: &'a [u8],
}

impl<'r, 'a> View<'r, 'a> {
    /// A view of an image.
    #[must_use]
    pub fn new(reader: &'r ImageReader<'a>) -> Self {
        Self { reader, needed: needed_marks(reader.header().format_version) }
    }

    /// Returns the reader of the image.
    #[must_use]
    pub fn reader(&self) -> &'r ImageReader<'a> {
        self.reader
    }

    /// Returns the root directory.
    pub fn root(&self) -> Result<ViewNode, ReadError> {
        Ok(ViewNode { raw: self.reader.root()?, is_restored: false })
    }

    /// Looks up a name in a directory; `None` if there is no such name or the image hides it.
    pub fn child(&self, directory: &ViewNode, name: &[u8]) -> Result<Option<ViewNode>, ReadError> {
        match self.reader.lookup(&directory.raw, name)? {
            Some(entry) => self.node(directory, entry.nid, entry.file_type, entry.offset),
            None => Ok(None),
        }
    }

    /// The names of a directory, in byte order; none of anything else.
    pub fn children(&self, directory: &ViewNode) -> Result<Children<'r, 'a>, ReadError> {
        let entries = self.reader.entries(&directory.raw)?;
        Ok(Children { view: *self, directory: *directory, entries, before: None })
    }

    /// Returns the inode that a name leads to; `None` if it is hidden.
    fn node(&self, directory: &ViewNode, nid: u64, file_type: u8, offset: u64) -> Result<Option<ViewNode>, ReadError> {
        let raw = self.reader.inode(nid)?;
        let expected = type_number(raw.kind());
        if file_type != expected {
            return Err(Defect::FileType { found: file_type, expected }.of(nid, offset));
        }
        let Some(needed) = self.needed else { return Ok(Some(ViewNode { raw, is_restored: false })) };
        if raw.is_whiteout() {
            return Ok(None);
        }
        let may_be = raw.kind() == Kind::Regular && raw.record().size == 0 && !raw.is_external();
        let is_restored =
            may_be && self.marks(&raw)?.has_all(WHITEOUT_MARKS) && self.marks(&directory.raw)?.has_all(needed);
        Ok(Some(ViewNode { raw, is_restored }))
    }

    fn marks(&self, inode: &RawInode) -> Result<WhiteoutMarks, ReadError> {
        let mut marks = WhiteoutMarks::default();
        for xattr in self.reader.xattrs(inode)? {
            marks = marks.with(WhiteoutMarks::of(&xattr?));
        }
        Ok(marks)
    }

    /// The target of a symlink; empty for anything else.
    pub fn target(&self, node: &ViewNode) -> Result<&'a [u8], ReadError> {
        if node.raw.kind() != Kind::Symlink {
            return Ok(&[]);
        }
        let target = target(&node.raw, self.reader.flat_content(&node.raw)?)?;
        if (1..=MAX_PATH).contains(&target.len()) {
            return Ok(target);
        }
        Err(node.raw.error(Defect::Tree(TreeError::SymlinkTarget(target.len())), node.raw.offset()))
    }

    /// The attributes, in byte order of their names.
    pub fn xattrs(&self, node: &ViewNode) -> Result<Vec<OwnXattr<'a>>, ReadError> {
        let dropped = self.dropped_marks(node)?;
        let mut own = Vec::new();
        for xattr in self.reader.xattrs(&node.raw)? {
            let xattr = xattr?;
            if let Meaning::Own(number, suffix) = meaning(&xattr)
                && !WhiteoutMarks::of(&xattr).has_any(dropped)
            {
                let name = [prefix(number).unwrap_or_default(), suffix].concat();
                own.push(OwnXattr { name, value: xattr.value });
            }
        }
        // Of two with one name the first counts, as for the kernel; the sort leaves them in order.
        own.sort_by(|a, b| a.name.cmp(&b.name));
        own.dedup_by(|later, first| later.name == first.name);
        Ok(own)
    }

    /// The marks that the writer put on this inode for the sake of a whiteout.
    fn dropped_marks(&self, node: &ViewNode) -> Result<WhiteoutMarks, ReadError> {
        if node.is_restored {
            return Ok(WHITEOUT_MARKS);
        }
        let Some(needed) = self.needed.filter(|_| node.raw.kind() == Kind::Directory) else {
            return Ok(WhiteoutMarks::default());
        };
        if !self.marks(&node.raw)?.has_all(needed) {
            return Ok(WhiteoutMarks::default());
        }
        for child in self.children(node)? {
            if child?.node.is_restored {
                return Ok(PARENT_MARKS);
            }
        }
        Ok(WhiteoutMarks::default())
    }
}

impl LoadedImage {
    /// An inode of the tree as a [`View`] has it.
    pub fn node(&self, reader: &ImageReader<'_>, inode: InodeId) -> Result<ViewNode, ReadError> {
        let raw = self.raw(reader, inode)?;
        Ok(ViewNode { raw, is_restored: raw.kind() != self.tree.inode(inode).kind() })
    }
}

impl ViewNode {
    /// The inode in the image.
    #[must_use]
    pub fn raw(&self) -> &RawInode {
        &self.raw
    }

    /// Returns `true` for a whiteout of the source, which the image represents by an empty file with attributes.
    #[must_use]
    pub fn is_restored_whiteout(&self) -> bool {
        self.is_restored
    }

    /// Returns the file type; `None` if the mode has no known type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.is_restored { Kind::CharDevice } else { self.raw.kind() }
    }

    /// Type and permission bits.
    #[must_use]
    pub fn mode(&self) -> u16 {
        let mode = self.raw.record().mode;
        if self.is_restored { mode & !MODE_TYPE | Kind::CharDevice.mode_bits() } else { mode }
    }
}

/// The names of a directory with what they name. Ends at the first that is wrong.
#[derive(Clone, Debug)]
pub struct Children<'r, 'a> {
    view: View<'r, 'a>,
    directory: ViewNode,
    entries: RawEntries<'a>,
    before: Option<&'a [u8]>,
}

impl<'a> Iterator for Children<'_, 'a> {
    type Item = Result<Child<'a>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(child) => child.map(Ok),
            Err(error) => {
                self.entries = RawEntries::none(&self.directory.raw);
                Some(Err(error))
            }
        }
    }
}

impl<'a> Children<'_, 'a> {
    fn advance(&mut self) -> Result<Option<Child<'a>>, ReadError> {
        for entry in self.entries.by_ref() {
            let entry = entry?;
            check_order(&self.directory.raw, self.before, &entry)?;
            self.before = Some(entry.name);
            if matches!(entry.name, b"." | b"..") {
                continue;
            }
            if let Some(node) = self.view.node(&self.directory, entry.nid, entry.file_type, entry.offset)? {
                return Ok(Some(Child { name: entry.name, node }));
            }
        }
        Ok(None)
    }
}
