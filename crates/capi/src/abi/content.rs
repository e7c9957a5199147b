//! Exported functions for payloads and contents.

use std::ffi::{c_char, c_int};
use std::os::fd::AsFd as _;
use std::ptr::null;

use libcomposefs_image::tree::Kind;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{bytes, fd, guarded, node, status, text};
use crate::load::{Flags, from_content};
use crate::node::Node;

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_payload(this: *mut Node) -> *const c_char {
    // SAFETY: a node of the caller's. The payload lives until the node gets another one or none.
    guarded(null(), || Ok(unsafe { node(this)? }.payload().as_ref().map_or(null(), |payload| payload.as_ptr())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_set_payload(this: *mut Node, payload: *const c_char) -> c_int {
    status(|| {
        // SAFETY: a node and, if it is not null, a string of the caller's.
        let (this, payload) = unsafe { (node(this)?, text(payload).ok()) };
        this.set_payload(payload)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_set_symlink_payload(this: *mut Node, payload: *const c_char) -> c_int {
    status(|| {
        // SAFETY: a node and a string of the caller's.
        let (this, payload) = unsafe { (node(this)?, text(payload)?) };
        if this.kind() != Some(Kind::Symlink) || payload.is_empty() {
            return Err(Errno::INVAL);
        }
        this.set_payload(Some(payload))?;
        this.set_size(payload.count_bytes() as u64);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_content(this: *mut Node) -> *const u8 {
    // SAFETY: a node of the caller's. The content lives until the node gets another one or none.
    guarded(null(), || Ok(unsafe { node(this)? }.content().as_ref().map_or(null(), |content| content.as_ptr())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_set_content(this: *mut Node, data: *const u8, len: usize) -> c_int {
    status(|| {
        // SAFETY: a node and bytes of the caller's.
        let (this, content) = unsafe { (node(this)?, bytes(data, len)?) };
        this.set_content(content)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_set_from_content(
    this: *mut Node,
    dir: c_int,
    name: *const c_char,
    flags: c_int,
) -> c_int {
    status(|| {
        let flags = Flags::new(flags)?;
        // SAFETY: a node, a descriptor and a string of the caller's.
        let (this, dir, name) = unsafe { (node(this)?, fd(dir)?, text(name)?) };
        let file = rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        from_content(&this, file.as_fd(), flags)
    })
}
