//! Maps inodes to the lines of a dump, for errors that are found when the image is laid out.

use crate::tree::InodeId;

/// Tells the line of each inode: inodes are numbered as their lines come, and only links have lines without one.
#[derive(Clone, Debug, Default)]
pub struct LineMap {
    /// The lines of hard links, ascending.
    pub(super) links: Vec<u64>,
}

impl LineMap {
    /// The line, from 1, that made an inode.
    #[must_use]
    pub fn line_of(&self, inode: InodeId) -> u64 {
        let mut line = inode.index() as u64 + 1;
        for &link in &self.links {
            if link > line {
                break;
            }
            line += 1;
        }
        line
    }
}
