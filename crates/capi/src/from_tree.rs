//! From a tree that was read to nodes.

use std::ffi::CString;
use std::rc::Rc;

use libcomposefs_image::tree::{Data, Inode, InodeId, Tree};
use rustix::io::Errno;

use crate::node::Node;

/// The nodes of a tree.
pub(crate) fn from_tree(tree: &Tree) -> Result<Rc<Node>, Errno> {
    let mut nodes: Vec<Option<Rc<Node>>> = vec![None; tree.inode_count()];
    let mut links = Vec::new();
    let root = of_inode(&tree.inode(InodeId::ROOT))?;
    nodes[InodeId::ROOT.index()] = Some(root.clone());
    let mut pending = vec![InodeId::ROOT];
    while let Some(directory) = pending.pop() {
        let Some(parent) = nodes[directory.index()].clone() else { continue };
        for entry in tree.children(directory) {
            let inode = tree.inode(entry.inode);
            let node = if entry.is_link { Node::new() } else { of_inode(&inode)? };
            parent.add_child(node.clone(), &c_string(entry.name)?)?;
            if entry.is_link {
                links.push((node, entry.inode));
                continue;
            }
            if matches!(inode.data(), Data::Directory) {
                pending.push(entry.inode);
            }
            nodes[entry.inode.index()] = Some(node);
        }
    }
    for (link, target) in links {
        let target = nodes[target.index()].as_ref().ok_or(Errno::INVAL)?;
        let count = target.nlink.get();
        link.make_link(target);
        // The tree has counted them.
        target.nlink.set(count);
    }
    Ok(root)
}

/// A node with what an inode has.
fn of_inode(inode: &Inode<'_>) -> Result<Rc<Node>, Errno> {
    let node = Node::new();
    node.mode.set(inode.mode());
    node.uid.set(inode.uid());
    node.gid.set(inode.gid());
    node.nlink.set(inode.nlink());
    node.rdev.set(inode.rdev());
    node.mtime.set(inode.mtime());
    node.set_size(inode.size());
    match inode.data() {
        Data::Directory | Data::Special => {}
        Data::Symlink(target) => node.set_payload(Some(&c_string(target)?))?,
        Data::Regular { content, payload, digest } => {
            if let Some(content) = content {
                node.set_content(content)?;
            }
            if let Some(payload) = payload {
                node.set_payload(Some(&c_string(&payload)?))?;
            }
            if let Some(digest) = digest.and_then(|digest| <[u8; 32]>::try_from(digest.as_bytes()).ok()) {
                node.set_digest(digest);
            }
        }
    }
    for xattr in inode.xattrs() {
        node.xattrs.borrow_mut().set(&c_string(xattr.name)?, xattr.value)?;
    }
    Ok(node)
}

fn c_string(bytes: &[u8]) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::INVAL)
}
