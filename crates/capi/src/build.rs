//! Nodes of a directory and all below it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use libcomposefs_image::tree::Kind;
use rustix::fs::{Dir, OFlags};
use rustix::io::Errno;

use crate::load::{Entry, Flags};
use crate::node::Node;

/// A directory whose entries are still to be taken.
struct Pending {
    dir: Entry,
    node: Rc<Node>,
    /// As it was given, and what follows below.
    path: Vec<u8>,
}

/// An error and the path at which it occurred.
pub(crate) struct Failed {
    pub(crate) path: Vec<u8>,
    pub(crate) errno: Errno,
}

/// Takes the tree at `name`. Every step starts at what was opened before and follows no symlink.
pub(crate) fn build(dir: BorrowedFd<'_>, name: &CStr, flags: Flags) -> Result<Rc<Node>, Failed> {
    let at = |path: &[u8]| {
        let path = path.to_vec();
        move |errno| Failed { path, errno }
    };
    let path = name.to_bytes().to_vec();
    let top = Entry::open(dir, name).map_err(at(&path))?;
    let root = top.node(flags).map_err(at(&path))?;
    let mut pending = Vec::new();
    if root.is_directory() {
        pending.push(Pending { dir: top, node: root.clone(), path });
    }
    while let Some(Pending { dir, node, path }) = pending.pop() {
        let (open, names) = list(&dir).map_err(at(&path))?;
        for name in names {
            let path = [&path[..], b"/", name.to_bytes()].concat();
            let entry = Entry::open(open.as_fd(), &name).map_err(at(&path))?;
            let kind = entry.kind().map_err(at(&path))?;
            if flags.has(Flags::SKIP_DEVICES) && matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
                continue;
            }
            let child = entry.node(flags).map_err(at(&path))?;
            node.add_child(child.clone(), &name).map_err(at(&path))?;
            if kind == Kind::Directory {
                pending.push(Pending { dir: entry, node: child, path });
            }
        }
    }
    Ok(root)
}

/// Opens a directory, and names what is in it in order.
fn list(dir: &Entry) -> Result<(OwnedFd, Vec<CString>), Errno> {
    let open = dir.reopen(OFlags::DIRECTORY)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&open)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    names.sort();
    Ok((open, names))
}
