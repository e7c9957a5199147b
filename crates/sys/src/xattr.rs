//! Extended attributes: read into buffers that grow as far as the kernel asks for, and set.
//!
//! The kernel bounds a list and a value at 64 KiB each (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`), so nothing here grows
//! without end.

use std::ffi::CStr;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fsetxattr, getxattr, lgetxattr, listxattr, llistxattr, lsetxattr, setxattr,
};
use rustix::io::Errno;

use crate::proc_fd::has_proc;
use crate::xattr_at;

/// The largest list and the largest value the kernel gives out.
const KERNEL_MAX: usize = 65536;
const FIRST_TRY: usize = 1024;

/// The file whose attributes are read or set.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Those of an open file; not one opened with `O_PATH`.
    File(BorrowedFd<'a>),
    /// Those of what the path names itself, a symlink included.
    Path(&'a CStr),
    /// Those of what the path leads to: by `/proc/self/fd/N`, of what was opened with `O_PATH`, were it a symlink.
    Followed(&'a CStr),
}

/// Returns a path to an entry of an open directory, for the calls that have no `at` form. [`Target::Path`] does not
/// follow a symlink under that name. Without `/proc` the calls for the directory itself are used, which Linux has since
/// 6.13; before, they fail with `ENOSYS`.
pub fn entry_path(directory: BorrowedFd<'_>, name: &CStr, path: &mut Vec<u8>) {
    let mut prefix = String::with_capacity(32);
    write!(prefix, "/proc/self/fd/{}/", directory.as_raw_fd()).expect("writing to a string");
    path.clear();
    path.extend_from_slice(prefix.as_bytes());
    path.extend_from_slice(name.to_bytes_with_nul());
}

/// Reads the names of all attributes into `names`, each ended by a NUL byte. A file system without attributes has none.
///
/// # Errors
///
/// What `flistxattr` and `llistxattr` give, other than `EOPNOTSUPP`.
pub fn list(target: Target<'_>, names: &mut Vec<u8>) -> io::Result<()> {
    let found = grow(names, |buffer| match target {
        Target::File(file) => flistxattr(file, buffer),
        Target::Path(path) => or_by_directory(llistxattr(path, &mut *buffer), || xattr_at::list(path, buffer)),
        Target::Followed(path) => listxattr(path, buffer),
    });
    match found {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => {
            names.clear();
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Reads the value of an attribute into `value`; false if it is gone.
///
/// # Errors
///
/// What `fgetxattr` and `lgetxattr` give, other than `ENODATA`.
pub fn get(target: Target<'_>, name: &CStr, value: &mut Vec<u8>) -> io::Result<bool> {
    let found = grow(value, |buffer| match target {
        Target::File(file) => fgetxattr(file, name, buffer),
        Target::Path(path) => {
            or_by_directory(lgetxattr(path, name, &mut *buffer), || xattr_at::get(path, name, buffer))
        }
        Target::Followed(path) => getxattr(path, name, buffer),
    });
    match found {
        Ok(()) => Ok(true),
        Err(Errno::NODATA) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Buffers for reading all attributes of one file after the other.
#[derive(Debug, Default)]
pub struct Reader {
    names: Vec<u8>,
    value: Vec<u8>,
}

impl Reader {
    /// Shows the attributes with wanted names. One that is removed at the same time is skipped.
    ///
    /// # Errors
    ///
    /// What [`list`] and [`get`] give, and what `show` returns.
    pub fn each<E: From<io::Error>>(
        &mut self,
        target: Target<'_>,
        wanted: impl Fn(&[u8]) -> bool,
        mut show: impl FnMut(&CStr, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        list(target, &mut self.names)?;
        for name in self.names.split_inclusive(|&byte| byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
            if wanted(name.to_bytes()) && get(target, name, &mut self.value)? {
                show(name, &self.value)?;
            }
        }
        Ok(())
    }
}

/// Sets an attribute, whether it is there or not.
///
/// # Errors
///
/// What `fsetxattr` and `lsetxattr` give.
pub fn set(target: Target<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    match target {
        Target::File(file) => fsetxattr(file, name, value, XattrFlags::empty())?,
        Target::Path(path) => {
            or_by_directory(lsetxattr(path, name, value, XattrFlags::empty()), || xattr_at::set(path, name, value))?;
        }
        Target::Followed(path) => setxattr(path, name, value, XattrFlags::empty())?,
    }
    Ok(())
}

/// Returns the result of the call by path, or where `/proc` is missing, that of `by_directory` (Linux 6.13).
fn or_by_directory<T>(
    by_path: rustix::io::Result<T>,
    by_directory: impl FnOnce() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match by_path {
        Err(Errno::NOENT) if !has_proc() => by_directory(),
        result => result,
    }
}

/// Lets `read` fill `buffer`, made larger for as long as the kernel says that it is too small.
fn grow(buffer: &mut Vec<u8>, mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<()> {
    let mut len = buffer.capacity().clamp(FIRST_TRY, KERNEL_MAX);
    loop {
        buffer.resize(len, 0);
        match read(buffer) {
            Ok(got) => {
                buffer.truncate(got);
                return Ok(());
            }
            Err(Errno::RANGE) if len < KERNEL_MAX => len = (len * 4).min(KERNEL_MAX),
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_grows_to_the_kernels_limit_and_no_further() {
        let mut asked = Vec::new();
        let mut buffer = Vec::new();
        let result = grow(&mut buffer, |b| {
            asked.push(b.len());
            Err(Errno::RANGE)
        });
        assert_eq!(result, Err(Errno::RANGE));
        assert_eq!(asked, [1024, 4096, 16384, 65536]);
        grow(&mut buffer, |b| {
            b[..3].copy_from_slice(b"abc");
            Ok(3)
        })
        .unwrap();
        assert_eq!(buffer, b"abc");
    }

    #[test]
    fn what_has_no_attributes_has_an_empty_list() {
        let mut names = b"left over".to_vec();
        list(Target::Path(c"/proc/self/status"), &mut names).unwrap();
        assert_eq!(names, b"");
        assert!(list(Target::Path(c"/nonexistent"), &mut names).is_err());
    }
}
