//! A private directory to mount the image on temporarily, where overlayfs takes its layers by path only.

use std::io;
use std::path::{Path, PathBuf};

use libcomposefs_sys::mount::unmount;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// A new directory of mode 0700, or one that the caller has for it. Dropping it takes away what is mounted on it, and
/// the directory if it is ours.
#[derive(Debug)]
pub(crate) struct TemporaryMountpoint {
    dir: PathBuf,
    is_ours: bool,
    has_mount: bool,
}

impl TemporaryMountpoint {
    /// Uses a directory of the caller's.
    pub(crate) fn given(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), is_ours: false, has_mount: false }
    }

    /// Makes the directory in `/run`, or in `/tmp` where that cannot be written.
    pub(crate) fn new() -> io::Result<Self> {
        Self::new_in(Path::new("/run")).or_else(|_| Self::new_in(Path::new("/tmp")))
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        for _ in 0..100 {
            let mut random = [0; 8];
            getrandom(&mut random, GetRandomFlags::empty())?;
            let dir = parent.join(format!(".composefs.{:016x}", u64::from_le_bytes(random)));
            match rustix::fs::mkdir(&dir, Mode::RWXU) {
                Ok(()) => return Ok(Self { dir, is_ours: true, has_mount: false }),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Errno::EXIST.into())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Something is mounted there now: without it, what a caller's directory may hold is left alone.
    pub(crate) fn now_has_mount(&mut self) {
        self.has_mount = true;
    }
}

impl Drop for TemporaryMountpoint {
    fn drop(&mut self) {
        // A mount that cannot be taken away keeps the directory from going, too.
        if self.has_mount {
            let _ = unmount(&self.dir, true);
        }
        if self.is_ours {
            let _ = rustix::fs::rmdir(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_goes_away() {
        use std::os::unix::fs::PermissionsExt;
        let made = TemporaryMountpoint::new_in(Path::new("/tmp")).unwrap();
        let path = made.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o700);
        drop(made);
        assert!(!path.exists());
        assert!(TemporaryMountpoint::new_in(Path::new("/proc")).is_err());
    }
}
