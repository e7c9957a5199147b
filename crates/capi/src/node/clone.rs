//! Copies of nodes and of whole trees.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use super::Node;

impl Node {
    /// The node alone: without name, parent and children, and with the same target if it is a hard link.
    pub(crate) fn copy(&self) -> Rc<Node> {
        Rc::new(Node {
            link: self.link.clone(),
            broken_link: self.broken_link.clone(),
            mode: self.mode.clone(),
            uid: self.uid.clone(),
            gid: self.gid.clone(),
            nlink: self.nlink.clone(),
            rdev: self.rdev.clone(),
            mtime: self.mtime.clone(),
            size: self.size.clone(),
            payload: self.payload.clone(),
            content: self.content.clone(),
            digest: self.digest.clone(),
            has_digest: self.has_digest.clone(),
            xattrs: self.xattrs.clone(),
            handles: Cell::default(),
            parent: RefCell::default(),
            name: RefCell::default(),
            children: RefCell::default(),
        })
    }

    /// The node and all below it. Hard links among them are among the copies; others keep their targets.
    pub(crate) fn copy_deep(self: &Rc<Self>) -> Rc<Node> {
        let top = self.copy();
        let mut copies = HashMap::from([(Rc::as_ptr(self), top.clone())]);
        let mut links = Vec::from_iter(self.link().map(|target| (top.clone(), target)));
        let mut pending = vec![(self.clone(), top.clone())];
        while let Some((from, to)) = pending.pop() {
            let mut children = Vec::with_capacity(from.children.borrow().len());
            for child in from.children.borrow().iter() {
                let copy = child.copy();
                *copy.name.borrow_mut() = child.name.borrow().clone();
                *copy.parent.borrow_mut() = Rc::downgrade(&to);
                copies.insert(Rc::as_ptr(child), copy.clone());
                links.extend(child.link().map(|target| (copy.clone(), target)));
                pending.push((child.clone(), copy.clone()));
                children.push(copy);
            }
            *to.children.borrow_mut() = children;
        }
        for (link, target) in links {
            if let Some(copy) = copies.get(&Rc::as_ptr(&target)) {
                *link.link.borrow_mut() = Some(copy.clone());
            }
        }
        top
    }
}
