//! Exported functions for mounting images.

use std::ffi::{OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use libc::c_void;
use libcomposefs_mount::ImageFile;
use rustix::io::Errno;

use super::{fd, status, text};
use crate::mount::{Wishes, mount, of_mount};

/// The options of a mount, `struct lcfs_mount_options_s`.
#[repr(C)]
struct MountOptions {
    objdirs: *const *const c_char,
    n_objdirs: usize,
    workdir: *const c_char,
    upperdir: *const c_char,
    expected_fsverity_digest: *const c_char,
    flags: u32,
    idmap_fd: c_int,
    image_mountdir: *const c_char,
    reserved: [u32; 4],
    reserved2: [*mut c_void; 4],
}

const _: () = assert!(size_of::<MountOptions>() == 104);

/// # Safety
///
/// Null, or a string of the caller's.
unsafe fn path(pointer: *const c_char) -> Option<PathBuf> {
    // SAFETY: what the caller promises.
    let text = unsafe { text(pointer) }.ok()?;
    Some(OsStr::from_bytes(text.to_bytes()).into())
}

/// # Safety
///
/// Null, or options of the caller's.
unsafe fn wishes(options: *const MountOptions) -> Result<Wishes, Errno> {
    // SAFETY: what the caller promises, here and below.
    let options = unsafe { options.as_ref() }.ok_or(Errno::INVAL)?;
    if options.n_objdirs > 0 && options.objdirs.is_null() {
        return Err(Errno::INVAL);
    }
    let object = |index| unsafe { path(*options.objdirs.add(index)) }.ok_or(Errno::INVAL);
    unsafe {
        Ok(Wishes {
            objects: (0..options.n_objdirs).map(object).collect::<Result<_, _>>()?,
            work: path(options.workdir),
            upper: path(options.upperdir),
            digest: text(options.expected_fsverity_digest).ok().map(|digest| digest.to_bytes().to_vec()),
            flags: options.flags,
            idmap: options.idmap_fd,
            mountpoint: path(options.image_mountdir),
        })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_mount_image(
    image: *const c_char,
    target: *const c_char,
    options: *const MountOptions,
) -> c_int {
    status(|| {
        // SAFETY: strings and options of the caller's.
        let (image, target, wishes) = unsafe { (path(image), path(target), wishes(options)?.check()?) };
        let image = ImageFile::open(&image.ok_or(Errno::INVAL)?).map_err(|error| of_mount(&error))?;
        mount(&image, &target.ok_or(Errno::INVAL)?, wishes)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn lcfs_mount_fd(image: c_int, target: *const c_char, options: *const MountOptions) -> c_int {
    status(|| {
        // SAFETY: a descriptor, a string and options of the caller's.
        let (target, wishes) = unsafe { (path(target), wishes(options)?.check()?) };
        // SAFETY: as above.
        let image = unsafe { fd(image)? };
        let image = ImageFile::from_fd(image.try_clone_to_owned().map_err(|_| Errno::BADF)?, Path::new("(descriptor)"));
        mount(&image, &target.ok_or(Errno::INVAL)?, wishes)
    })
}
