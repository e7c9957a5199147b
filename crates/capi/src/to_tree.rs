//! From nodes to the tree that an image is made of.

use std::collections::HashMap;
use std::rc::Rc;

use libcomposefs_image::tree::{InodeId, Kind, NewInode, Tree, TreeBuilder, Xattr};
use libcomposefs_image::{Algorithm, Digest};
use rustix::io::Errno;

use crate::errno;
use crate::node::Node;

/// The tree of a node, which may itself have a name and a parent.
///
/// # Errors
///
/// `ENOTDIR` for the root; `EINVAL` for what no image can hold: a node without type, a symlink without target, a hard
/// link to a directory or to outside; `FBIG`, `ERANGE` for what is too large.
pub(crate) fn to_tree(root: &Rc<Node>) -> Result<Tree, Errno> {
    match root.kind() {
        Some(Kind::Directory) if root.link().is_none() && !root.has_broken_link() => {}
        Some(kind) if kind != Kind::Directory => return Err(Errno::NOTDIR),
        _ => return Err(Errno::INVAL),
    }
    let mut builder = add(root, |inode| TreeBuilder::new(Algorithm::Sha256, inode))?;
    let (mut links, mut targets) = (Vec::new(), HashMap::new());
    let mut pending = vec![(root.clone(), InodeId::ROOT)];
    while let Some((directory, id)) = pending.pop() {
        for child in directory.children().iter() {
            if child.has_broken_link() {
                return Err(Errno::INVAL);
            }
            let name = child.name();
            let name = name.as_ref().map_or(&b""[..], |name| name.to_bytes());
            if child.link().is_some() {
                // What it held would be lost.
                if child.is_directory() || !child.children().is_empty() {
                    return Err(Errno::INVAL);
                }
                links.push((id, name.to_vec(), child.chain().last()));
                continue;
            }
            let inode = add(child, |inode| builder.add(id, name, inode))?;
            // A node without another owner is not the target of a link.
            if Rc::strong_count(child) > 1 {
                targets.insert(Rc::as_ptr(child), inode);
            }
            if child.kind() == Some(Kind::Directory) {
                pending.push((child.clone(), inode));
            } else if !child.children().is_empty() {
                return Err(Errno::INVAL);
            }
        }
    }
    for (directory, name, target) in links {
        let inode = target.and_then(|target| targets.get(&Rc::as_ptr(&target)).copied()).ok_or(Errno::INVAL)?;
        builder.add_link(directory, &name, inode).map_err(|error| errno::of_tree(&error))?;
    }
    Ok(builder.finish())
}

fn add<T>(
    node: &Node,
    add: impl FnOnce(&NewInode<'_>) -> Result<T, libcomposefs_image::tree::TreeError>,
) -> Result<T, Errno> {
    let (xattrs, payload, content) = (node.xattrs.borrow(), node.payload(), node.content());
    let xattrs: Vec<_> = xattrs.iter().map(|(name, value)| Xattr { name: name.to_bytes(), value }).collect();
    let is_regular = node.kind() == Some(Kind::Regular);
    let inode = NewInode {
        mode: node.mode.get(),
        size: node.size(),
        nlink: node.nlink.get(),
        uid: node.uid.get(),
        gid: node.gid.get(),
        rdev: node.rdev.get(),
        mtime: node.mtime.get(),
        payload: payload.as_ref().map(|payload| payload.to_bytes()),
        content: content.as_deref().filter(|_| is_regular),
        digest: node.digest().filter(|_| is_regular).and_then(|digest| Digest::new(Algorithm::Sha256, &digest)),
        is_object: false,
        xattrs: &xattrs,
    };
    add(&inode).map_err(|error| errno::of_tree(&error))
}
