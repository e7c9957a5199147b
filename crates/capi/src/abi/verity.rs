//! Digests of nodes, contents and files.

use std::ffi::c_int;
use std::ptr::null;

use libc::c_void;
use rustix::io::Errno;

use super::{Callback, bytes, fd, guarded, negated, node, put_digest, status};
use crate::content::{
    Raw, UNREADABLE, digest_of, digest_of_data, digest_of_fd, enable, measured, measured_or_computed,
};
use crate::node::Node;

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_fsverity_digest(this: *mut Node) -> *const u8 {
    // SAFETY: a node of the caller's.
    guarded(null(), || Ok(unsafe { node(this)? }.digest_ptr().unwrap_or(null())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_set_fsverity_digest(this: *mut Node, digest: *const u8) {
    guarded((), || {
        // SAFETY: a node and 32 bytes of the caller's.
        let (this, digest) = unsafe { (node(this)?, bytes(digest, 32)?) };
        this.set_digest(digest.try_into().map_err(|_| Errno::INVAL)?);
        Ok(())
    });
}

/// # Safety
///
/// The callback can be called with `file`.
unsafe fn digest_by(file: *mut c_void, read: Option<Callback>) -> Result<Raw, Errno> {
    let read = read.ok_or(Errno::INVAL)?;
    digest_of(|buffer| {
        // SAFETY: what the caller promises; the buffer has as many bytes as are asked for.
        let got = unsafe { read(file, buffer.as_mut_ptr().cast(), buffer.len()) };
        usize::try_from(got).ok()
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_set_fsverity_from_content(
    this: *mut Node,
    file: *mut c_void,
    read: Option<Callback>,
) -> c_int {
    status(|| {
        // SAFETY: a node of the caller's, and a callback with what it is called with.
        let (this, digest) = unsafe { (node(this)?, digest_by(file, read)?) };
        this.set_digest(digest);
        Ok(())
    })
}

/// # Safety
///
/// The descriptor stays open during the call.
unsafe fn readable<'a>(file: c_int) -> Result<std::os::fd::BorrowedFd<'a>, Errno> {
    // SAFETY: what the caller promises.
    unsafe { fd(file) }.map_err(|_| UNREADABLE)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_set_fsverity_from_fd(this: *mut Node, file: c_int) -> c_int {
    status(|| {
        // SAFETY: a node and a descriptor of the caller's.
        let (this, file) = unsafe { (node(this)?, readable(file)?) };
        this.set_digest(digest_of_fd(file)?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_compute_fsverity_from_content(
    digest: *mut u8,
    file: *mut c_void,
    read: Option<Callback>,
) -> c_int {
    // SAFETY: a callback of the caller's, and 32 bytes.
    status(|| unsafe { put_digest(digest, &digest_by(file, read)?) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_compute_fsverity_from_fd(digest: *mut u8, file: c_int) -> c_int {
    // SAFETY: a descriptor of the caller's, and 32 bytes.
    status(|| unsafe { put_digest(digest, &digest_of_fd(readable(file)?)?) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_compute_fsverity_from_data(digest: *mut u8, data: *const u8, len: usize) -> c_int {
    // SAFETY: bytes of the caller's, and 32 more.
    status(|| unsafe { put_digest(digest, &digest_of_data(bytes(data, len)?)) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_fd_measure_fsverity(digest: *mut u8, file: c_int) -> c_int {
    // SAFETY: a descriptor of the caller's, and 32 bytes.
    negated(|| unsafe { put_digest(digest, &measured(fd(file)?)?) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_fd_get_fsverity(digest: *mut u8, file: c_int) -> c_int {
    // SAFETY: a descriptor of the caller's, and 32 bytes.
    negated(|| unsafe { put_digest(digest, &measured_or_computed(fd(file)?)?) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_fd_enable_fsverity(file: c_int) -> c_int {
    // SAFETY: a descriptor of the caller's.
    negated(|| enable(unsafe { fd(file)? }))
}
