//! Numbers: mode, owner, size, device, time.

use std::ffi::c_int;

use libcomposefs_image::tree::{Kind, Timestamp};
use rustix::io::Errno;

use super::{guarded, node, status};
use crate::node::Node;

/// A function that gives a number, and one that sets it.
macro_rules! attribute {
    ($get:ident, $set:ident, $type:ty, $field:ident) => {
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $get(this: *mut Node) -> $type {
            // SAFETY: a node of the caller's.
            guarded(0, || Ok(unsafe { node(this)? }.$field.get()))
        }

        #[unsafe(no_mangle)]
        unsafe extern "C" fn $set(this: *mut Node, value: $type) {
            guarded((), || {
                // SAFETY: a node of the caller's.
                unsafe { node(this)? }.$field.set(value);
                Ok(())
            });
        }
    };
}

attribute!(lcfs_node_get_mode, lcfs_node_set_mode, u32, mode);
attribute!(lcfs_node_get_uid, lcfs_node_set_uid, u32, uid);
attribute!(lcfs_node_get_gid, lcfs_node_set_gid, u32, gid);
attribute!(lcfs_node_get_nlink, lcfs_node_set_nlink, u32, nlink);
attribute!(lcfs_node_get_rdev, lcfs_node_set_rdev, u32, rdev);

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_try_set_mode(this: *mut Node, mode: u32) -> c_int {
    status(|| {
        Kind::from_mode(mode).ok_or(Errno::INVAL)?;
        // SAFETY: a node of the caller's.
        unsafe { node(this)? }.mode.set(mode);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_rdev64(this: *mut Node) -> u64 {
    // SAFETY: a node of the caller's.
    guarded(0, || Ok(unsafe { node(this)? }.rdev.get().into()))
}

/// An image holds 32 bits of a device number; more have never been kept.
#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_set_rdev64(this: *mut Node, rdev: u64) {
    guarded((), || {
        // SAFETY: a node of the caller's.
        unsafe { node(this)? }.rdev.set(rdev as u32);
        Ok(())
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_size(this: *mut Node) -> u64 {
    // SAFETY: a node of the caller's.
    guarded(0, || Ok(unsafe { node(this)? }.size()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_set_size(this: *mut Node, size: u64) {
    guarded((), || {
        // SAFETY: a node of the caller's.
        unsafe { node(this)? }.set_size(size);
        Ok(())
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_get_mtime(this: *mut Node, time: *mut libc::timespec) {
    guarded((), || {
        // SAFETY: a node of the caller's.
        let Timestamp { sec, nsec } = unsafe { node(this)? }.mtime.get();
        // SAFETY: null, or a time of the caller's that can be written.
        let time = unsafe { time.as_mut() }.ok_or(Errno::INVAL)?;
        (time.tv_sec, time.tv_nsec) = (sec, nsec.into());
        Ok(())
    });
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_node_set_mtime(this: *mut Node, time: *mut libc::timespec) {
    guarded((), || {
        // SAFETY: null, or a time of the caller's.
        let time = unsafe { time.as_ref() }.ok_or(Errno::INVAL)?;
        let time = Timestamp { sec: time.tv_sec, nsec: time.tv_nsec as u32 };
        // SAFETY: a node of the caller's.
        unsafe { node(this)? }.mtime.set(time);
        Ok(())
    });
}
