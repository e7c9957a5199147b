//! Reads `/etc/passwd` and `/etc/group` of an image.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use libcomposefs_oci::runtime::ContainerUser;
use libcomposefs_sys::in_root::open_in_root;
use rustix::io::Errno;

/// Largest size of either file. The image must not choose how much memory is used.
const LARGEST: u64 = 4 << 20;

/// Resolves the user of an image by the files below the directory `root`, without leaving it.
pub(super) fn resolve(user: &str, root: &Path) -> anyhow::Result<ContainerUser> {
    let passwd = read(root, "etc/passwd")?;
    let group = read(root, "etc/group")?;
    Ok(ContainerUser::resolve(user, &passwd, &group)?)
}

/// Reads a file of the image; one that is missing is empty.
fn read(root: &Path, path: &str) -> anyhow::Result<Vec<u8>> {
    let directory = File::open(root).with_context(|| format!("cannot open {}", root.display()))?;
    let file = match open_in_root(directory.as_fd(), path.as_bytes()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno).with_context(|| format!("cannot open /{path} of the image")),
    };
    let is_file = file.metadata().with_context(|| format!("cannot read /{path} of the image"))?.is_file();
    ensure!(is_file, "/{path} of the image is no regular file");
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read /{path} of the image"))?;
    ensure!(bytes.len() as u64 <= LARGEST, "/{path} of the image is larger than {LARGEST} bytes");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_are_read_within_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("usr/etc")).unwrap();
        fs::write(dir.path().join("passwd"), "evil:x:0:0::/evil:\n").unwrap();
        assert_eq!(resolve("", &root).unwrap(), ContainerUser::default());

        // A link to the outside finds nothing; a link within the root is followed.
        symlink("usr/etc", root.join("etc")).unwrap();
        symlink("../../../passwd", root.join("etc/passwd")).unwrap();
        assert!(resolve("evil", &root).is_err());
        fs::remove_file(root.join("etc/passwd")).unwrap();
        symlink("/usr/etc/real", root.join("etc/passwd")).unwrap();
        fs::write(root.join("usr/etc/real"), "app:x:7:8::/app:\n").unwrap();
        assert_eq!(resolve("app", &root).unwrap().uid, 7);
    }

    #[test]
    fn other_kinds_and_large_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/passwd")).unwrap();
        let error = resolve("", dir.path()).unwrap_err().to_string();
        assert_eq!(error, "/etc/passwd of the image is no regular file");
        fs::remove_dir(dir.path().join("etc/passwd")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("etc/passwd"), fifo, mode, 0).unwrap();
        assert!(resolve("", dir.path()).is_err());
        fs::remove_file(dir.path().join("etc/passwd")).unwrap();
        File::create(dir.path().join("etc/passwd")).unwrap().set_len(LARGEST).unwrap();
        assert!(resolve("", dir.path()).is_ok());
        File::create(dir.path().join("etc/passwd")).unwrap().set_len(LARGEST + 1).unwrap();
        assert!(resolve("", dir.path()).is_err());
    }
}
