//! `composefs-info ls`: prints one line for each path.

use std::io::{self, Write};

use libcomposefs_image::dump::{Also, escape};
use libcomposefs_image::tree::{Data, Tree};

/// Prints the paths of a tree with their targets or objects; those of a hard-linked inode only with its first path.
pub(super) fn list(tree: &Tree, out: &mut impl Write) -> io::Result<()> {
    let mut seen = vec![false; tree.inode_count()];
    let mut line = Vec::new();
    let mut entries = tree.depth_first();
    while let Some((path, entry)) = entries.step() {
        line.clear();
        escape(path, Also::NotSpaces, &mut line);
        if !std::mem::replace(&mut seen[entry.inode.index()], true) {
            let mut lead_to = |mark: &[u8], what: &[u8]| {
                line.extend_from_slice(mark);
                escape(what, Also::Nothing, &mut line);
            };
            match tree.inode(entry.inode).data() {
                Data::Directory => lead_to(b"/\t", b""),
                Data::Symlink(target) => lead_to(b"\t-> ", target),
                Data::Regular { payload: Some(payload), .. } => lead_to(b"\t@ ", &payload),
                Data::Regular { payload: None, .. } | Data::Special => {}
            }
        }
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}
