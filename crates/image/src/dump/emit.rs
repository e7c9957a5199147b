//! From a tree to dump lines.

use std::io::{self, Write};

use super::escape::{Also, escape};
use crate::tree::{Data, Inode, InodeId, Tree};

/// Writes a tree as a dump: the root first, then depth first in byte order of the names.
pub fn emit(tree: &Tree, out: &mut impl Write) -> io::Result<()> {
    emit_with(tree, out, |inode, line| {
        tree.inode(inode).xattrs().for_each(|xattr| emit_xattr(&[xattr.name], xattr.value, line));
        Ok(())
    })
}

/// The same, where the attributes of each inode are appended by the caller, by [`emit_xattr`].
pub(crate) fn emit_with(
    tree: &Tree,
    out: &mut impl Write,
    mut emit_xattrs: impl FnMut(InodeId, &mut Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    emit_fields(&mut line, b"/", tree.inode(InodeId::ROOT), None);
    emit_xattrs(InodeId::ROOT, &mut line)?;
    line.push(b'\n');
    out.write_all(&line)?;
    let places = tree.has_links().then(|| tree.places());
    let mut target = Vec::new();
    let mut entries = tree.depth_first();
    while let Some((path, entry)) = entries.step() {
        line.clear();
        target.clear();
        let link_target = places.as_ref().filter(|_| entry.is_link).map(|places| {
            places.push_path(entry.inode, &mut target);
            &target[..]
        });
        emit_fields(&mut line, path, tree.inode(entry.inode), link_target);
        emit_xattrs(entry.inode, &mut line)?;
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}

/// Appends an attribute, whose name may come in parts.
pub(crate) fn emit_xattr(name: &[&[u8]], value: &[u8], line: &mut Vec<u8>) {
    line.push(b' ');
    name.iter().for_each(|part| escape(part, Also::Equals, line));
    line.push(b'=');
    escape(value, Also::Equals, line);
}

/// Appends the eleven fixed fields.
fn emit_fields(line: &mut Vec<u8>, path: &[u8], inode: Inode<'_>, link_target: Option<&[u8]>) {
    escape(path, Also::Nothing, line);
    let link_mark = if link_target.is_some() { "@" } else { "" };
    let mtime = inode.mtime();
    let _ = write!(
        line,
        " {} {link_mark}{:o} {} {} {} {} {}.{} ",
        inode.size(),
        inode.mode(),
        inode.nlink(),
        inode.uid(),
        inode.gid(),
        inode.rdev(),
        mtime.sec,
        mtime.nsec
    );
    let (mut payload, mut content, mut digest) = (None, None, None);
    let data = inode.data();
    match &data {
        Data::Symlink(target) => payload = Some(*target),
        Data::Regular { payload: p, content: c, digest: d } => {
            (payload, content, digest) = (p.as_deref(), *c, *d);
        }
        Data::Directory | Data::Special => {}
    }
    for field in [link_target.or(payload), content] {
        match field {
            Some(bytes) if !bytes.is_empty() => escape(bytes, Also::LoneDash, line),
            _ => line.push(b'-'),
        }
        line.push(b' ');
    }
    match digest {
        Some(digest) => line.extend_from_slice(digest.to_hex().as_bytes()),
        None => line.push(b'-'),
    }
}
