//! The initramfs every guest starts from: busybox, the first program and the modules of one kernel.
//!
//! Built once per kernel and recipe, and kept in the cache; what a run adds follows it as a second archive.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use super::modules::ModuleSet;
use crate::kernel::Fetched;
use crate::{apt, paths, process};

const INIT: &str = include_str!("init.sh");
/// Modules that a guest may load. Only the first few are loaded at the start; the rest waits for a mount or a modprobe.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "ext4",
    "erofs",
    "overlay",
    "loop", // at the start
    "fuse",
    "xfs",
    "btrfs",
    "squashfs",
    "vfat",
    "nls_cp437",
    "nls_ascii",
    "nls_iso8859-1",
    "nls_utf8",
    "nbd",
    "dm_mod",
    "dm_flakey",
    "dm_log_writes",
    "dm_snapshot",
    // Found by the kernel through their crypto- aliases; fs-verity asks for them.
    "crc32c_generic",
    "crc32c_intel",
    "sha256_generic",
    "sha512_generic",
    "sha256_ssse3",
    "sha512_ssse3",
];
/// Raised when the layout of the archive changes.
const LAYOUT: u32 = 1;

/// The base for a kernel, from the cache or built now.
pub(crate) fn initramfs(kernel: &Fetched) -> Result<PathBuf> {
    let busybox = process::require("busybox")?;
    let mut key = DefaultHasher::new();
    (INIT, MODULES, LAYOUT, fs::metadata(&busybox)?.len()).hash(&mut key);
    let dir = paths::cache("initramfs")?;
    let file = dir.join(format!("{}-{:016x}.cpio", kernel.release, key.finish()));
    let _lock = paths::lock(&dir)?;
    if !file.exists() {
        forget_other(&dir, &kernel.release)?;
        build(kernel, &busybox, &file).with_context(|| format!("cannot build {}", file.display()))?;
    }
    Ok(file)
}

/// Older builds for the same kernel. One of today may be in use: by a checkout with another recipe, or by a machine
/// that is about to start.
fn forget_other(dir: &Path, release: &str) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !apt::is_fresh(&entry.path()) && entry.file_name().to_string_lossy().starts_with(&format!("{release}-")) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn build(kernel: &Fetched, busybox: &Path, file: &Path) -> Result<()> {
    let work = tempfile::NamedTempFile::new_in(file.parent().context("no parent")?)?;
    let mut archive = Archive::new(BufWriter::new(work.as_file()));
    for dir in ["usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "dev", "proc", "sys", "mnt", "tmp", "run", "root", "etc"]
    {
        archive.directory(Path::new(dir))?;
    }
    // As on a system of today, so that programs and libraries are found where they were built to look.
    for (link, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        archive.symlink(Path::new(link), target)?;
    }
    archive.file(Path::new("usr/bin/busybox"), 0o755, busybox)?;
    archive.symlink(Path::new("usr/bin/sh"), "busybox")?;
    // The kernel's own requests for modules go to this path.
    archive.symlink(Path::new("usr/sbin/modprobe"), "../bin/busybox")?;
    archive.bytes(Path::new("init"), 0o755, INIT.as_bytes())?;
    archive.bytes(
        Path::new("etc/passwd"),
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    )?;
    archive.bytes(Path::new("etc/group"), 0o644, b"root:x:0:\nnogroup:x:65534:\n")?;
    let modules = ModuleSet::collect(&kernel.modules, MODULES)?;
    let home = Path::new("usr/lib/modules").join(&kernel.release);
    for (name, object) in modules.objects() {
        archive.bytes(&home.join(name), 0o644, object)?;
    }
    archive.bytes(&home.join("modules.dep"), 0o644, modules.dependencies().as_bytes())?;
    archive.bytes(&home.join("modules.alias"), 0o644, modules.aliases().as_bytes())?;
    archive.finish()?;
    work.persist(file)?;
    // Readable for all users who share the cache; temporary files are not.
    File::open(file)?.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    Ok(())
}
