//! Exported functions for extended attributes.

use std::ffi::{c_char, c_int};
use std::ptr::null;

use rustix::io::Errno;

use super::{bytes, guarded, node, status, text};
use crate::node::Node;

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_xattr(this: *mut Node, name: *const c_char, len: *mut usize) -> *const c_char {
    guarded(null(), || {
        // SAFETY: a node and a string of the caller's.
        let (this, name) = unsafe { (node(this)?, text(name)?) };
        let xattrs = this.xattrs.borrow();
        let Some(value) = xattrs.get(name) else { return Err(Errno::NODATA) };
        // SAFETY: null, or a number of the caller's that can be written.
        if let Some(len) = unsafe { len.as_mut() } {
            *len = value.len();
        }
        Ok(value.as_ptr().cast())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_set_xattr(
    this: *mut Node,
    name: *const c_char,
    value: *const c_char,
    len: usize,
) -> c_int {
    // SAFETY: a node, a string and bytes of the caller's.
    status(|| unsafe { node(this)?.xattrs.borrow_mut().set(text(name)?, bytes(value.cast(), len)?) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_unset_xattr(this: *mut Node, name: *const c_char) -> c_int {
    // SAFETY: a node and a string of the caller's.
    status(|| unsafe { node(this)?.xattrs.borrow_mut().unset(text(name)?) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_n_xattr(this: *mut Node) -> usize {
    // SAFETY: a node of the caller's.
    guarded(0, || Ok(unsafe { node(this)? }.xattrs.borrow().len()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_xattr_name(this: *mut Node, index: usize) -> *const c_char {
    // SAFETY: a node of the caller's.
    guarded(null(), || Ok(unsafe { node(this)? }.xattrs.borrow().name(index).map_or(null(), std::ffi::CStr::as_ptr)))
}
