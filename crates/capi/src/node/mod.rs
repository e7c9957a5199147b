//! A node of a tree that a C program builds: counted references, attributes that can be set at any time.
//!
//! The memory is Rust's: a parent owns its children, a hard link its target, and the references that the C program has
//! count as one owner, so that to give back one too many frees nothing that is still part of a tree.

mod attributes;
mod clone;
mod xattrs;

use std::cell::{Cell, Ref, RefCell};
use std::ffi::{CStr, CString};
use std::rc::{Rc, Weak};

use libcomposefs_image::tree::{MAX_NAME, MODE_TYPE, Timestamp};
use rustix::io::Errno;

pub(crate) use attributes::DIGEST_LEN;
pub(crate) use xattrs::Xattrs;

const DIRECTORY: u32 = 0o040000;

/// The node behind `struct lcfs_node_s`.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// The number of references that the C program has.
    pub(crate) handles: Cell<usize>,
    parent: RefCell<Weak<Node>>,
    name: RefCell<Option<CString>>,
    /// In byte order of their names.
    children: RefCell<Vec<Rc<Node>>>,
    link: RefCell<Option<Rc<Node>>>,
    /// It was made a hard link in a way that no tree can have: nothing can be written with it.
    broken_link: Cell<bool>,
    pub(crate) mode: Cell<u32>,
    pub(crate) uid: Cell<u32>,
    pub(crate) gid: Cell<u32>,
    pub(crate) nlink: Cell<u32>,
    pub(crate) rdev: Cell<u32>,
    pub(crate) mtime: Cell<Timestamp>,
    size: Cell<u64>,
    payload: RefCell<Option<CString>>,
    content: RefCell<Option<Vec<u8>>>,
    digest: Cell<[u8; DIGEST_LEN]>,
    has_digest: Cell<bool>,
    pub(crate) xattrs: RefCell<Xattrs>,
}

impl Node {
    /// A node without type and name.
    pub(crate) fn new() -> Rc<Self> {
        let node = Self::default();
        node.nlink.set(1);
        Rc::new(node)
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.mode.get() & u32::from(MODE_TYPE) == DIRECTORY
    }

    pub(crate) fn parent(&self) -> Option<Rc<Node>> {
        self.parent.borrow().upgrade()
    }

    /// The name in its parent.
    pub(crate) fn name(&self) -> Ref<'_, Option<CString>> {
        self.name.borrow()
    }

    pub(crate) fn children(&self) -> Ref<'_, Vec<Rc<Node>>> {
        self.children.borrow()
    }

    /// The child of this name.
    pub(crate) fn child(&self, name: &CStr) -> Option<Rc<Node>> {
        let children = self.children.borrow();
        Some(children[find(&children, name).ok()?].clone())
    }

    /// Returns the target of a hard link.
    pub(crate) fn link(&self) -> Option<Rc<Node>> {
        self.link.borrow().clone()
    }

    pub(crate) fn has_broken_link(&self) -> bool {
        self.broken_link.get()
    }

    /// Adds a child under a name.
    ///
    /// # Errors
    ///
    /// `ENOTDIR`, `EMLINK` if the child has a name already, `EINVAL` for a name that no entry can have or a child that
    /// the node lies below, `ENAMETOOLONG`, `EEXIST`.
    pub(crate) fn add_child(self: &Rc<Self>, child: Rc<Node>, name: &CStr) -> Result<(), Errno> {
        if !self.is_directory() {
            return Err(Errno::NOTDIR);
        }
        let bytes = name.to_bytes();
        if matches!(bytes, b"" | b"." | b"..") || bytes.contains(&b'/') {
            return Err(Errno::INVAL);
        }
        if bytes.len() > MAX_NAME {
            return Err(Errno::NAMETOOLONG);
        }
        if child.name.borrow().is_some() {
            return Err(Errno::MLINK);
        }
        if Rc::ptr_eq(self, &child) || !child.children.borrow().is_empty() && self.lies_below(&child) {
            return Err(Errno::INVAL);
        }
        let mut children = self.children.borrow_mut();
        let Err(place) = find(&children, name) else { return Err(Errno::EXIST) };
        *child.name.borrow_mut() = Some(name.to_owned());
        *child.parent.borrow_mut() = Rc::downgrade(self);
        children.insert(place, child);
        Ok(())
    }

    fn lies_below(&self, above: &Rc<Node>) -> bool {
        std::iter::successors(self.parent(), |node| node.parent()).any(|node| Rc::ptr_eq(&node, above))
    }

    /// Makes the node a further name of `target`, which may be a link itself.
    pub(crate) fn make_link(self: &Rc<Self>, target: &Rc<Node>) {
        let is_loop = target.chain().any(|node| Rc::ptr_eq(self, &node));
        // Nodes that owned each other could never be freed.
        if is_loop || target.is_directory() {
            self.broken_link.set(true);
            return;
        }
        target.nlink.set(target.nlink.get().saturating_add(1));
        self.broken_link.set(false);
        *self.link.borrow_mut() = Some(target.clone());
    }

    /// The node, what it is a link to, what that is a link to: it ends, as no link makes a loop.
    pub(crate) fn chain(self: &Rc<Self>) -> impl Iterator<Item = Rc<Node>> {
        std::iter::successors(Some(self.clone()), |node| node.link())
    }
}

/// Finds the position of a child by name, or the position to insert it. Most trees are built in order, so the last
/// child is compared first.
fn find(children: &[Rc<Node>], name: &CStr) -> Result<usize, usize> {
    let order = |child: &Rc<Node>| child.name.borrow().as_deref().cmp(&Some(name));
    if children.last().is_none_or(|last| order(last).is_lt()) {
        return Err(children.len());
    }
    children.binary_search_by(order)
}

/// Frees the descendants without recursion: a tree may be deeper than the stack. Children to which the C program has
/// references live on, without parent and name.
impl Drop for Node {
    fn drop(&mut self) {
        let mut doomed = Vec::new();
        self.release(&mut doomed);
        while let Some(node) = doomed.pop() {
            if let Some(last) = Rc::into_inner(node) {
                last.release(&mut doomed);
            }
        }
    }
}

impl Node {
    fn release(&self, doomed: &mut Vec<Rc<Node>>) {
        for child in self.children.take() {
            child.name.take();
            child.parent.take();
            doomed.push(child);
        }
        doomed.extend(self.link.take());
    }
}
