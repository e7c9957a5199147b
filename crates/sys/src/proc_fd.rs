//! The path `/proc/self/fd/N` of an open file, for interfaces of the kernel that take paths only.

use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::fs_magic::FsMagic;

/// Returns a path that leads to the file that is open as `file`; `None` if `/proc` is not mounted, is not procfs (as in
/// a mount namespace whose owner mounted something else there), or leads to another file.
#[must_use]
pub fn link(file: impl AsFd) -> Option<PathBuf> {
    let number = file.as_fd().as_raw_fd().to_string();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open("/proc/self/fd", flags, Mode::empty()).ok()?;
    if !FsMagic::is_one_of(&[FsMagic::PROC], &dir) {
        return None;
    }
    let there = rustix::fs::statat(&dir, &*number, AtFlags::empty()).ok()?;
    let here = rustix::fs::fstat(&file).ok()?;
    let same = (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino);
    same.then(|| PathBuf::from("/proc/self/fd").join(number))
}

/// Returns true if `/proc` was mounted at the first call.
pub(crate) fn has_proc() -> bool {
    static HAS_PROC: OnceLock<bool> = OnceLock::new();
    *HAS_PROC.get_or_init(|| rustix::fs::stat(c"/proc/self/fd").is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_leads_to_the_file() {
        let file = tempfile::tempfile().unwrap();
        let link = link(&file).unwrap();
        assert_eq!(rustix::fs::stat(&link).unwrap().st_ino, rustix::fs::fstat(&file).unwrap().st_ino);
    }
}
