//! Parents, children and hard links.

use std::ffi::{c_char, c_int};
use std::ptr::{null, null_mut};

use rustix::io::Errno;

use super::{guarded, lend, node, status, take_back, text};
use crate::node::Node;

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_lookup_child(this: *mut Node, name: *const c_char) -> *mut Node {
    // SAFETY: a node and a string of the caller's.
    guarded(null_mut(), || Ok(lend(unsafe { node(this)?.child(text(name)?) })))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_parent(this: *mut Node) -> *mut Node {
    // SAFETY: a node of the caller's.
    guarded(null_mut(), || Ok(lend(unsafe { node(this)? }.parent())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_add_child(parent: *mut Node, child: *mut Node, name: *const c_char) -> c_int {
    status(|| {
        // SAFETY: nodes and a string of the caller's.
        let (parent, child, name) = unsafe { (node(parent)?, node(child)?, text(name)?) };
        parent.add_child(child.clone(), name)?;
        take_back(&child);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_name(this: *mut Node) -> *const c_char {
    // SAFETY: a node of the caller's. The name lives until the node gets another one or none.
    guarded(null(), || Ok(unsafe { node(this)? }.name().as_ref().map_or(null(), |name| name.as_ptr())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_n_children(this: *mut Node) -> usize {
    // SAFETY: a node of the caller's.
    guarded(0, || Ok(unsafe { node(this)? }.children().len()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_child(this: *mut Node, index: usize) -> *mut Node {
    guarded(null_mut(), || {
        // SAFETY: a node of the caller's.
        let this = unsafe { node(this)? };
        let child = this.children().get(index).cloned();
        if child.is_none() {
            return Err(Errno::INVAL);
        }
        Ok(lend(child))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_make_hardlink(this: *mut Node, target: *mut Node) {
    guarded((), || {
        // SAFETY: nodes of the caller's.
        let (this, target) = unsafe { (node(this)?, node(target)?) };
        this.make_link(&target);
        Ok(())
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_hardlink_target(this: *mut Node) -> *mut Node {
    // SAFETY: a node of the caller's.
    guarded(null_mut(), || Ok(lend(unsafe { node(this)? }.link())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_dirp(this: *mut Node) -> bool {
    // SAFETY: a node of the caller's.
    guarded(false, || Ok(unsafe { node(this)? }.is_directory()))
}
