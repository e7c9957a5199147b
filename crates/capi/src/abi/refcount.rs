//! Exported functions for references and copies.

use std::ptr::null_mut;

use super::{guarded, hand_out, node, take_back};
use crate::node::Node;

#[unsafe(no_mangle)]
extern "C" fn lcfs_node_new() -> *mut Node {
    guarded(null_mut(), || Ok(hand_out(Node::new())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_ref(this: *mut Node) -> *mut Node {
    // SAFETY: a node of the caller's.
    guarded(null_mut(), || Ok(hand_out(unsafe { node(this)? })))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_unref(this: *mut Node) {
    if this.is_null() {
        return;
    }
    guarded((), || {
        // SAFETY: a node of the caller's.
        take_back(&unsafe { node(this)? });
        Ok(())
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_clone(this: *mut Node) -> *mut Node {
    // SAFETY: a node of the caller's.
    guarded(null_mut(), || Ok(hand_out(unsafe { node(this)? }.copy())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_clone_deep(this: *mut Node) -> *mut Node {
    // SAFETY: a node of the caller's.
    guarded(null_mut(), || Ok(hand_out(unsafe { node(this)? }.copy_deep())))
}
