//! Nodes of files and images.

use std::ffi::{CString, c_char, c_int};
use std::ptr::{null, null_mut};

use libc::c_void;
use rustix::io::Errno;

use super::{bytes, fd, guarded, hand_out, text};
use crate::build::build;
use crate::load::{Entry, Flags, from_image, header_of, whole};
use crate::node::Node;

/// The options of loading, `struct lcfs_read_options_s`.
#[repr(C)]
struct ReadOptions {
    /// Names of entries of the root, ended by a null; null for all.
    toplevel_entries: *const *const c_char,
    reserved: [u32; 3],
    reserved2: [*mut c_void; 4],
}

const _: () = assert!(size_of::<ReadOptions>() == 56);

/// The names of the options.
///
/// # Safety
///
/// Null, or options of the caller's.
unsafe fn names<'a>(options: *const ReadOptions) -> Result<Option<Vec<&'a [u8]>>, Errno> {
    // SAFETY: what the caller promises.
    let Some(mut next) = unsafe { options.as_ref() }.map(|options| options.toplevel_entries).filter(|p| !p.is_null())
    else {
        return Ok(None);
    };
    let mut names = Vec::new();
    // SAFETY: the list ends with a null, and each name is a string.
    unsafe {
        while !(*next).is_null() {
            names.push(text(*next)?.to_bytes());
            next = next.add(1);
        }
    }
    Ok(Some(names))
}

fn load(image: &[u8], only: Option<&[&[u8]]>) -> Result<*mut Node, Errno> {
    let only: &[&[u8]] = match only {
        None => &[],
        // No name at all is the root alone, which the reader would take for a wish for everything.
        Some([]) => &[b""],
        Some(names) => names,
    };
    Ok(hand_out(from_image(image, only)?))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_load_node_from_file(dir: c_int, name: *const c_char, flags: c_int) -> *mut Node {
    guarded(null_mut(), || {
        let flags = Flags::new(flags)?;
        // SAFETY: a descriptor and a string of the caller's.
        Ok(hand_out(Entry::open(unsafe { fd(dir)? }, unsafe { text(name)? })?.node(flags)?))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_build(dir: c_int, name: *const c_char, flags: c_int, failed: *mut *mut c_char) -> *mut Node {
    guarded(null_mut(), || {
        // SAFETY: null, or a pointer of the caller's that can be written.
        let failed = unsafe { failed.as_mut() };
        let flags = Flags::new(flags)?;
        // SAFETY: a descriptor and a string of the caller's.
        let (dir, name) = unsafe { (fd(dir)?, text(name)?) };
        build(dir, name, flags).map(hand_out).map_err(|error| {
            if let Some(failed) = failed {
                let path = CString::new(error.path).unwrap_or_default();
                // SAFETY: a string; the copy is the C library's, whose `free` the caller calls.
                *failed = unsafe { libc::strdup(path.as_ptr()) };
            }
            error.errno
        })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_load_node_from_image(image: *const u8, len: usize) -> *mut Node {
    // SAFETY: bytes of the caller's.
    unsafe { lcfs_load_node_from_image_ext(image, len, null()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_load_node_from_image_ext(
    image: *const u8,
    len: usize,
    options: *const ReadOptions,
) -> *mut Node {
    // SAFETY: bytes and options of the caller's.
    guarded(null_mut(), || unsafe { load(bytes(image, len)?, names(options)?.as_deref()) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_load_node_from_fd(file: c_int) -> *mut Node {
    // SAFETY: a descriptor of the caller's.
    unsafe { lcfs_load_node_from_fd_ext(file, null()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_load_node_from_fd_ext(file: c_int, options: *const ReadOptions) -> *mut Node {
    guarded(null_mut(), || {
        // SAFETY: a descriptor and options of the caller's.
        let (file, names) = unsafe { (fd(file)?, names(options)?) };
        load(&whole(file)?, names.as_deref())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_version_from_fd(file: c_int) -> c_int {
    guarded(-1, || {
        // SAFETY: a descriptor of the caller's.
        let header = header_of(unsafe { fd(file)? }).map_err(|errno| match errno {
            Errno::OPNOTSUPP => Errno::INVAL,
            errno => errno,
        })?;
        c_int::try_from(header.format_version).map_err(|_| Errno::INVAL)
    })
}
