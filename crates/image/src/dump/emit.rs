//! From a tree to dump lines.

use std::collections::HashMap;
use std::io::{self, Write};

use super::escape::{Also, escape};
use crate::tree::{Data, Inode, InodeId, Kind, Tree};

/// Writes a tree as a dump: the root first, then depth first in byte order of the names.
pub fn emit(tree: &Tree, out: &mut impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    emit_line(&mut line, b"/", tree.inode(InodeId::ROOT), None);
    out.write_all(&line)?;
    let link_targets = find_link_targets(tree);
    let mut result = Ok(());
    walk(tree, |path, entry, is_link| {
        line.clear();
        let target = is_link.then(|| &link_targets[&entry][..]);
        emit_line(&mut line, path, tree.inode(entry), target);
        result = out.write_all(&line);
        result.is_ok()
    });
    result
}

/// The path of every inode that some hard link names.
fn find_link_targets(tree: &Tree) -> HashMap<InodeId, Vec<u8>> {
    let mut targets = HashMap::new();
    walk(tree, |_, inode, is_link| {
        if is_link {
            targets.insert(inode, Vec::new());
        }
        true
    });
    if !targets.is_empty() {
        walk(tree, |path, inode, is_link| {
            if let Some(target) = targets.get_mut(&inode).filter(|_| !is_link) {
                *target = path.to_vec();
            }
            true
        });
    }
    targets
}

/// Visits every entry below the root, depth first, with its path. Stops when the visitor says so.
fn walk(tree: &Tree, mut visit: impl FnMut(&[u8], InodeId, bool) -> bool) {
    let mut path = Vec::new();
    let mut stack = vec![(0, tree.children(InodeId::ROOT))];
    while let Some((path_len, children)) = stack.last_mut() {
        path.truncate(*path_len);
        let Some(entry) = children.next() else {
            stack.pop();
            continue;
        };
        path.push(b'/');
        path.extend_from_slice(entry.name);
        if !visit(&path, entry.inode, entry.is_link) {
            return;
        }
        if !entry.is_link && tree.inode(entry.inode).kind() == Kind::Directory {
            stack.push((path.len(), tree.children(entry.inode)));
        }
    }
}

fn emit_line(line: &mut Vec<u8>, path: &[u8], inode: Inode<'_>, link_target: Option<&[u8]>) {
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
    for xattr in inode.xattrs() {
        line.push(b' ');
        escape(xattr.name, Also::Equals, line);
        line.push(b'=');
        escape(xattr.value, Also::Equals, line);
    }
    line.push(b'\n');
}
