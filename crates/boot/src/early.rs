//! The additional work of `/init`: file systems of the kernel, modules and the disk, and then the change of the root.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcomposefs_image::kernel_words::kernel_words;
use libcomposefs_sys::fs_magic::FsMagic;
use libcomposefs_sys::mount::{FsContext, MountAttrFlags, MountError};
use rustix::io::Errno;

use crate::error::BootError;
use crate::words::kernel_value;

/// The kernel decompresses the module itself (`MODULE_INIT_COMPRESSED_FILE`).
const COMPRESSED_FILE: i32 = 4;
/// The number of times that the disk is looked for, with a pause of 10 ms.
const TRIES: u32 = 1000;
/// The place of the disk.
pub(crate) const SYSROOT: &str = "/sysroot";

/// Mounts the file systems of the kernel that the program needs. Existing mounts stay.
pub fn mount_kernel_file_systems() {
    for (fs, directory) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run")] {
        let _ = std::fs::create_dir_all(directory);
        let _ = mounted(fs, &[]).and_then(|mount| mount.attach(Path::new(directory)));
    }
}

/// Reads the command line of the kernel.
///
/// # Errors
///
/// If `/proc` is not mounted.
pub fn kernel_command_line() -> Result<String, BootError> {
    let read = std::fs::read("/proc/cmdline");
    let bytes = read
        .map_err(|error| BootError::Io { doing: "reading /proc/cmdline".into(), errno: crate::disk::errno(&error) })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns true if the root is that of an initramfs. Only then may the machine be switched off or booted again.
#[must_use]
pub fn is_in_initramfs() -> bool {
    std::fs::File::open("/").is_ok_and(|root| FsMagic::is_one_of(&[FsMagic::RAMFS, FsMagic::TMPFS], root))
}

/// Loads the modules that `/modules/order` names, a file of `/modules` in each line. Returns those that failed.
pub fn load_modules() -> Vec<String> {
    let order = std::fs::read_to_string("/modules/order").unwrap_or_default();
    let load = |name: &str| -> Result<(), Errno> {
        let file = std::fs::File::open(Path::new("/modules").join(name)).map_err(|error| crate::disk::errno(&error))?;
        let is_compressed = [".xz", ".zst", ".gz"].iter().any(|end| name.ends_with(end));
        match rustix::system::finit_module(&file, c"", if is_compressed { COMPRESSED_FILE } else { 0 }) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    };
    let names = order.lines().map(str::trim).filter(|name| !name.is_empty());
    names.filter_map(|name| load(name).err().map(|errno| format!("module {name}: {errno}"))).collect()
}

/// Waits for the disk that `root=` names, and mounts it.
///
/// # Errors
///
/// If it does not appear within ten seconds, or cannot be mounted.
pub fn mount_disk(line: &str) -> Result<(), BootError> {
    let root = kernel_value(line, "root").ok_or_else(|| BootError::Disk("no root= on the command line".into()))?;
    let name = DiskName::of(root).ok_or_else(|| {
        BootError::Disk(format!("root={root}: expected /dev/NAME, PARTUUID=, PARTLABEL= or PARTNAME="))
    })?;
    let mut device = None;
    for _ in 0..TRIES {
        device = name.find();
        if device.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let device = device.ok_or_else(|| BootError::Disk(format!("root={root}: it did not appear in 10 s")))?;
    let kinds = match kernel_value(line, "rootfstype") {
        Some(kinds) => kinds.split(',').map(str::to_owned).collect(),
        None => block_file_systems(&std::fs::read_to_string("/proc/filesystems").unwrap_or_default()),
    };
    let _ = std::fs::create_dir_all(SYSROOT);
    let mut refused = format!("root={root}: no file system for it");
    for kind in kinds {
        match mount_as(&kind, &device, line) {
            Ok(()) => return Ok(()),
            Err(error) => refused = format!("root={root} as {kind}: {error}"),
        }
    }
    Err(BootError::Disk(refused))
}

fn mount_as(kind: &str, device: &Path, line: &str) -> Result<(), MountError> {
    let flags = kernel_value(line, "rootflags").unwrap_or_default();
    let mut options = vec![("source", device.to_str().unwrap_or_default())];
    options.extend(
        flags.split(',').filter(|flag| !flag.is_empty()).map(|flag| flag.split_once('=').unwrap_or((flag, ""))),
    );
    if kernel_words(line).filter(|word| matches!(*word, "ro" | "rw")).last() == Some("ro") {
        options.push(("ro", ""));
    }
    mounted(kind, &options)?.attach(Path::new(SYSROOT))
}

fn mounted(fs: &str, options: &[(&str, &str)]) -> Result<libcomposefs_sys::mount::MountFd, MountError> {
    let context = FsContext::open(fs)?;
    for (key, value) in options {
        if value.is_empty() { context.set_flag(key)? } else { context.set_string(key, value)? }
    }
    context.create()?;
    context.mount(MountAttrFlags::empty())
}

/// The name of a disk, as the word `root` has it.
#[derive(Debug, PartialEq, Eq)]
enum DiskName<'a> {
    Path(&'a Path),
    /// A key of the device's `uevent`, and its value.
    Uevent(&'static str, &'a str),
}

impl<'a> DiskName<'a> {
    fn of(root: &'a str) -> Option<Self> {
        match root.split_once('=') {
            None => root.starts_with("/dev/").then(|| DiskName::Path(Path::new(root))),
            Some(("PARTUUID", value)) => Some(DiskName::Uevent("PARTUUID", value)),
            Some(("PARTLABEL" | "PARTNAME", value)) => Some(DiskName::Uevent("PARTNAME", value)),
            Some(_) => None,
        }
    }

    fn find(&self) -> Option<PathBuf> {
        match self {
            DiskName::Path(path) => path.exists().then(|| path.to_path_buf()),
            DiskName::Uevent(key, value) => {
                let entries = std::fs::read_dir("/sys/class/block").ok()?;
                entries.flatten().find_map(|entry| {
                    let text = std::fs::read_to_string(entry.path().join("uevent")).ok()?;
                    device_with(&text, key, value).filter(|path| path.exists())
                })
            }
        }
    }
}

/// Returns the device of a `uevent` that has this value, whose case does not count.
fn device_with(uevent: &str, key: &str, value: &str) -> Option<PathBuf> {
    let of = |key: &str| uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    if !of(key)?.eq_ignore_ascii_case(value) {
        return None;
    }
    of("DEVNAME").map(|name| Path::new("/dev").join(name))
}

/// Returns the file systems for block devices in the text of `/proc/filesystems`. The driver of ext4 mounts ext2 and
/// ext3 by that name, too; by theirs, it complains on the console of every ext4.
fn block_file_systems(text: &str) -> Vec<String> {
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix('\t')).map(str::trim).collect();
    let is_tried = |name: &&str| !(names.contains(&"ext4") && matches!(*name, "ext2" | "ext3"));
    names.iter().copied().filter(is_tried).map(str::to_owned).collect()
}

/// Makes the new root the root, and starts its first program with the words that the kernel gave to this one. Returns
/// only if that fails.
pub fn switch_root(line: &str) -> BootError {
    let failed = |doing: &str, errno| BootError::Io { doing: doing.to_owned(), errno };
    for directory in ["dev", "proc", "sys", "run"] {
        let (from, to) = (format!("/{directory}"), format!("{SYSROOT}/{directory}"));
        if let Err(errno) = rustix::mount::mount_move(&*from, &*to) {
            return failed(&format!("moving {from} to {to}"), errno);
        }
    }
    let change = || {
        rustix::process::chdir(SYSROOT)?;
        rustix::mount::mount_move(SYSROOT, "/")?;
        rustix::process::chroot(".")?;
        rustix::process::chdir("/")
    };
    if let Err(errno) = change() {
        return failed("making the image the root", errno);
    }
    let init = kernel_value(line, "init").unwrap_or("/sbin/init");
    let error = std::process::Command::new(init).args(std::env::args_os().skip(1)).exec();
    BootError::Init { path: init.to_owned(), errno: crate::disk::errno(&error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_names_of_three_kinds() {
        assert_eq!(DiskName::of("/dev/vda2"), Some(DiskName::Path(Path::new("/dev/vda2"))));
        assert_eq!(DiskName::of("PARTLABEL=root"), Some(DiskName::Uevent("PARTNAME", "root")));
        assert_eq!(DiskName::of("UUID=x"), None);
        assert_eq!(DiskName::of("gpt-auto"), None);
        let uevent = "MAJOR=254\nMINOR=2\nDEVNAME=vda2\nDEVTYPE=partition\nPARTN=2\nPARTNAME=root\nPARTUUID=AB-1\n";
        assert_eq!(device_with(uevent, "PARTUUID", "ab-1"), Some("/dev/vda2".into()));
        assert_eq!(device_with(uevent, "PARTNAME", "boot"), None);
    }

    #[test]
    fn file_systems_for_disks() {
        assert_eq!(block_file_systems("nodev\tsysfs\n\text4\nnodev\ttmpfs\n\tbtrfs\n"), ["ext4", "btrfs"]);
        assert_eq!(block_file_systems("\text3\n\text2\n\text4\n"), ["ext4"]);
        assert_eq!(block_file_systems("\text2\n\tvfat\n"), ["ext2", "vfat"]);
    }
}
