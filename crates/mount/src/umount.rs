//! Unmounting, with a look first: only what composefs mounted.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use composefs_sys::mount::{MountError, errno_text, unmount};
use rustix::io::Errno;

/// Why a mount is still there.
#[derive(Debug, thiserror::Error)]
pub enum UmountError {
    /// The path leads nowhere, or the list of mounts cannot be read.
    #[error("Failed to unmount {}: {source}", target.display())]
    Io {
        /// What was to be unmounted.
        target: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No composefs image is mounted there.
    #[error("Failed to unmount {}: {}", target.display(), match found {
        Some(found) => format!("the mount there is no composefs mount but {found}"),
        None => "it is not a mount point".into(),
    })]
    NotComposefs {
        /// What was to be unmounted.
        target: PathBuf,
        /// File system and source of what is mounted there.
        found: Option<String>,
    },
    /// The kernel refused.
    #[error("Failed to unmount {}: {}", target.display(), errno_text(source.errno))]
    Kernel {
        /// What was to be unmounted.
        target: PathBuf,
        /// The kernel's answer.
        source: MountError,
    },
}

impl UmountError {
    /// What can be done about it, if anything is known to help.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            UmountError::Kernel { target, source } if source.errno == Errno::BUSY => Some(format!(
                "something still uses it: `fuser -vm {}` tells what; or unmount lazily, to let it finish",
                target.display()
            )),
            UmountError::Kernel { source, .. } if source.errno == Errno::PERM => {
                Some("unmounting needs CAP_SYS_ADMIN: run it as root".into())
            }
            UmountError::NotComposefs { found: Some(_), .. } => Some("use umount(8) for other mounts".into()),
            _ => None,
        }
    }
}

/// Unmounts the composefs image mounted at `target`; `lazily` takes it away at once and lets its last user finish.
///
/// # Errors
///
/// [`UmountError`]
pub fn umount(target: &Path, lazily: bool) -> Result<(), UmountError> {
    let io_error = |source| UmountError::Io { target: target.to_owned(), source };
    let path = target.canonicalize().map_err(io_error)?;
    let mounts = std::fs::read("/proc/self/mountinfo").map_err(io_error)?;
    match topmost(&mounts, &path) {
        Some((fs, source)) if fs == b"overlay" && source == b"composefs" => {}
        found => {
            let found = found
                .map(|(fs, source)| format!("{} {}", String::from_utf8_lossy(fs), String::from_utf8_lossy(&source)));
            return Err(UmountError::NotComposefs { target: target.to_owned(), found });
        }
    }
    unmount(&path, lazily).map_err(|source| UmountError::Kernel { target: target.to_owned(), source })
}

/// File system and source of the mount that is seen at `path`: the last one listed covers the others.
///
/// A line is `id parent dev root mountpoint options [fields...] - fs source options`
/// (`Documentation/filesystems/proc.rst`, section 3.5).
fn topmost<'a>(mountinfo: &'a [u8], path: &Path) -> Option<(&'a [u8], Vec<u8>)> {
    mountinfo.split(|&byte| byte == b'\n').rev().find_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let mountpoint = fields.nth(4)?;
        if unquote(mountpoint) != path.as_os_str().as_bytes() {
            return None;
        }
        fields.find(|&field| field == b"-")?;
        Some((fields.next()?, unquote(fields.next()?)))
    })
}

/// Turns `\040` and its like back into the bytes they stand for.
fn unquote(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        let octal =
            after.first_chunk::<3>().filter(|digits| byte == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        if let Some(digits) = octal {
            let value = digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
            plain.push(value as u8);
            rest = &after[3..];
        } else {
            plain.push(byte);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        45 27 0:40 / /a\\040b ro,relatime - overlay composefs ro\n\
        46 27 0:41 / /twice ro - overlay composefs ro\n\
        47 46 0:42 / /twice rw - tmpfs tmp rw\n";

    #[test]
    fn the_last_mount_at_a_path_is_seen() {
        assert_eq!(topmost(MOUNTS, Path::new("/a b")), Some((&b"overlay"[..], b"composefs".to_vec())));
        assert_eq!(topmost(MOUNTS, Path::new("/twice")), Some((&b"tmpfs"[..], b"tmp".to_vec())));
        assert_eq!(topmost(MOUNTS, Path::new("/none")), None);
    }

    #[test]
    fn what_is_no_composefs_mount_stays() {
        assert!(matches!(umount(Path::new("/proc"), false), Err(UmountError::NotComposefs { found: Some(_), .. })));
        assert!(matches!(umount(Path::new("/proc/self"), false), Err(UmountError::NotComposefs { found: None, .. })));
        assert!(matches!(umount(Path::new("/nonexistent"), false), Err(UmountError::Io { .. })));
    }

    #[test]
    fn quoting_is_undone() {
        assert_eq!(unquote(br"/a\040b\134\011"), b"/a b\\\t");
        assert_eq!(unquote(br"a\04"), br"a\04");
    }
}
