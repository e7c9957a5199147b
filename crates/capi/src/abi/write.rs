//! Exported functions for writing images.

use std::ffi::c_int;

use libc::c_void;
use libcomposefs_image::erofs::Versions;
use rustix::io::Errno;

use super::{Callback, errno, node, put_digest, set_errno, status};
use crate::node::Node;
use crate::write::write;

/// The options of writing, `struct lcfs_write_options_s`.
#[repr(C)]
struct WriteOptions {
    format: u32,
    /// In: the least version. Out: the one that was taken.
    version: u32,
    flags: u32,
    digest_out: *mut u8,
    file: *mut c_void,
    file_write_cb: Option<Callback>,
    max_version: u32,
    reserved: [u32; 3],
    reserved2: [*mut c_void; 4],
}

const _: () = assert!(size_of::<WriteOptions>() == 88);

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_write_to(root: *mut Node, options: *mut WriteOptions) -> c_int {
    status(|| {
        // SAFETY: a node and options of the caller's.
        let (root, options) = unsafe { (node(root)?, options.as_mut().ok_or(Errno::INVAL)?) };
        if options.format != 0 || options.flags != 0 {
            return Err(Errno::INVAL);
        }
        let versions = Versions { min: options.version, max: options.max_version.max(options.version) };
        let mut call = options.file_write_cb.map(|callback| {
            let file = options.file;
            move |bytes: &[u8]| {
                // A callback that fails without saying why.
                set_errno(Errno::IO);
                // SAFETY: a callback of the caller's with what it is called with. It does not write to the bytes.
                let taken = unsafe { callback(file, bytes.as_ptr().cast_mut().cast(), bytes.len()) };
                match usize::try_from(taken) {
                    Ok(taken) if taken > 0 && taken <= bytes.len() => Ok(taken),
                    _ => Err(errno()),
                }
            }
        });
        let digest = !options.digest_out.is_null();
        let written = write(&root, versions, digest, call.as_mut().map(|call| call as _))?;
        options.version = written.version;
        if let Some(digest) = written.digest {
            // SAFETY: 32 bytes of the caller's.
            unsafe { put_digest(options.digest_out, &digest)? };
        }
        Ok(())
    })
}
