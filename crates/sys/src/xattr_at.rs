//! Extended attributes of an entry of an open directory by `listxattrat`, `getxattrat` and `setxattrat` (Linux 6.13),
//! for use where `/proc`, by which older kernels reach an entry, is missing.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_long};

use rustix::io::{Errno, Result};

/// The numbers of the calls, which all architectures but alpha share (`include/uapi/asm-generic/unistd.h`).
const SETXATTRAT: c_long = 463;
const GETXATTRAT: c_long = 464;
const LISTXATTRAT: c_long = 465;

/// `struct xattr_args` of `include/uapi/linux/xattr.h`.
#[repr(C)]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

/// The directory and the name of a path that [`crate::xattr::entry_path`] made.
fn entry(path: &CStr) -> Option<(c_int, &CStr)> {
    let rest = path.to_bytes_with_nul().strip_prefix(b"/proc/self/fd/")?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let number = std::str::from_utf8(&rest[..slash]).ok()?.parse().ok()?;
    Some((number, CStr::from_bytes_with_nul(&rest[slash + 1..]).ok()?))
}

fn answer(result: c_long) -> Result<usize> {
    usize::try_from(result).map_err(|_| Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

/// Lists names as `llistxattr` does.
pub(crate) fn list(path: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let (directory, name) = entry(path).ok_or(Errno::NOENT)?;
    // SAFETY: the name is a C string, and the kernel writes at most as many bytes as the buffer has.
    answer(unsafe {
        libc::syscall(
            LISTXATTRAT,
            directory,
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    })
}

/// Reads a value as `lgetxattr` does.
pub(crate) fn get(path: &CStr, attribute: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let size = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
    // SAFETY: the kernel writes at most `size` bytes to the buffer, which is borrowed for writing.
    unsafe { call(GETXATTRAT, path, attribute, buffer.as_mut_ptr() as u64, size) }
}

/// Sets a value as `lsetxattr` does.
pub(crate) fn set(path: &CStr, attribute: &CStr, value: &[u8]) -> Result<()> {
    let size = u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?;
    // SAFETY: the kernel only reads `size` bytes of the value.
    unsafe { call(SETXATTRAT, path, attribute, value.as_ptr() as u64, size) }.map(drop)
}

/// `getxattrat` or `setxattrat`.
///
/// # Safety
///
/// `value` is the address of `size` bytes, which the kernel may write to if the call is `getxattrat`.
unsafe fn call(number: c_long, path: &CStr, attribute: &CStr, value: u64, size: u32) -> Result<usize> {
    let (directory, name) = entry(path).ok_or(Errno::NOENT)?;
    let args = XattrArgs { value, size, flags: 0 };
    // SAFETY: both names are C strings, `args` has the layout and size that are passed, and the caller promises what it
    // points to.
    answer(unsafe {
        libc::syscall(
            number,
            directory,
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            attribute.as_ptr(),
            &raw const args,
            size_of::<XattrArgs>(),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::xattr::entry_path;

    #[test]
    fn the_calls_answer_as_those_with_paths() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let directory = std::fs::File::open(dir.path()).unwrap();
        let mut path = Vec::new();
        entry_path(directory.as_fd(), c"file", &mut path);
        let path = CStr::from_bytes_with_nul(&path).unwrap();
        match set(path, c"user.one", b"value") {
            // Linux before 6.13, or a file system without attributes.
            Err(Errno::NOSYS | Errno::OPNOTSUPP) => return,
            result => result.unwrap(),
        }
        let mut buffer = [0; 64];
        assert_eq!(rustix::fs::lgetxattr(path, c"user.one", &mut buffer[..]), Ok(5));
        let len = get(path, c"user.one", &mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"value");
        assert_eq!(get(path, c"user.two", &mut buffer), Err(Errno::NODATA));
        assert_eq!(get(path, c"user.one", &mut buffer[..2]), Err(Errno::RANGE));
        let len = list(path, &mut buffer).unwrap();
        assert!(buffer[..len].split(|byte| *byte == 0).any(|name| name == b"user.one"));
        assert_eq!(list(c"/elsewhere", &mut buffer), Err(Errno::NOENT));
    }
}
