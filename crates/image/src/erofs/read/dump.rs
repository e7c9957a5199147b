//! An image as a dump, as `composefs-info dump` prints it.

use std::io::{self, Write};

use super::error::ReadError;
use super::load::LoadedImage;
use super::overlay::{Meaning, meaning};
use super::reader::ImageReader;
use crate::dump::{emit_with, emit_xattr};
use crate::erofs::xattr::prefix;
use crate::tree::InodeId;

impl LoadedImage {
    /// Writes the tree as a dump, as [`dump::emit`](crate::dump::emit) does, but with the attributes in the order of
    /// the image: shared ones last.
    pub fn emit_dump(&self, reader: &ImageReader<'_>, out: &mut impl Write) -> io::Result<()> {
        emit_with(&self.tree, out, |inode, line| {
            // Not of the image that was loaded, if it cannot be read again.
            self.emit_xattrs(reader, inode, line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        })
    }

    fn emit_xattrs(&self, reader: &ImageReader<'_>, inode: InodeId, line: &mut Vec<u8>) -> Result<(), ReadError> {
        let kept = self.tree.inode(inode);
        if kept.xattrs().len() == 0 {
            return Ok(());
        }
        for xattr in reader.xattrs(&self.raw(reader, inode)?)? {
            let xattr = xattr?;
            if let Meaning::Own(number, suffix) = meaning(&xattr) {
                let name = [prefix(number).unwrap_or_default(), suffix];
                // Whiteout markers are not in the tree any more.
                if kept.xattr(&name) == Some(xattr.value) {
                    emit_xattr(&name, xattr.value, line);
                }
            }
        }
        Ok(())
    }
}
