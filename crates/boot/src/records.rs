//! The files that a boot leaves in `/run` for the running system.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, StatxFlags, major, minor};
use rustix::io::Errno;

use crate::disk::BootDisk;
use crate::run::RUN;
use crate::signed_by::SignedBy;
use crate::words::BootImage;

/// Names the disk of the root for systemd, whose generator for ESP and swap looks for the disk of `/` and finds an
/// overlay (systemd issue 35017). Failures are no reason to stop the boot.
pub(crate) fn name_the_disk(disk: &BootDisk) {
    let Some(device) = device_of(disk) else { return };
    let _ = std::fs::create_dir_all("/run/systemd");
    let target = format!("/dev/block/{}:{}", major(device), minor(device));
    let _ = std::os::unix::fs::symlink(target, "/run/systemd/volatile-root");
}

/// Returns the block device of the disk. Where its files have a device number without a device, as on btrfs, it is the
/// source of its mount.
fn device_of(disk: &BootDisk) -> Option<u64> {
    let number = rustix::fs::fstat(&disk.root).ok()?.st_dev;
    if major(number) != 0 {
        return Some(number);
    }
    let stat = rustix::fs::statx(disk.root.as_fd(), c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let source = source_of(&mounts, stat.stx_mnt_id)?;
    let device = rustix::fs::stat(source).ok()?;
    (rustix::fs::FileType::from_raw_mode(device.st_mode) == rustix::fs::FileType::BlockDevice).then_some(device.st_rdev)
}

/// Returns the source of the mount with this number (`proc_pid_mountinfo(5)`).
fn source_of(mountinfo: &str, id: u64) -> Option<&str> {
    let line = mountinfo.lines().find(|line| line.split(' ').next().is_some_and(|word| word == id.to_string()))?;
    line.split_once(" - ")?.1.split(' ').nth(1)
}

/// Writes what was booted. `is_next` tells that the root is for a soft reboot, and not yet the one of the system.
pub(crate) fn write(
    image: &BootImage,
    source: &str,
    needs_verity: bool,
    signed: Option<&SignedBy>,
    is_next: bool,
) -> Result<(), Errno> {
    let name = if is_next { "nextroot.json" } else { "boot.json" };
    let write = || {
        std::fs::create_dir_all(RUN)?;
        std::fs::write(Path::new(RUN).join(name), text(image, source, needs_verity, signed))
    };
    write().map_err(|error: std::io::Error| crate::disk::errno(&error))
}

/// Word and digest were checked: neither has characters that JSON has to escape.
fn text(image: &BootImage, source: &str, needs_verity: bool, signed: Option<&SignedBy>) -> String {
    format!(
        "{{\"digest\":\"{}\",\"algorithm\":\"{}\",\"verity\":\"{}\",\"word\":\"{}\",\"source\":\"{source}\"{}}}\n",
        image.digest.to_hex(),
        image.digest.algorithm(),
        if needs_verity { "require" } else { "off" },
        image.word,
        signed.map_or_else(String::new, |signed| format!(",\"signed\":{}", signed.to_json())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::KernelWords;

    #[test]
    fn the_source_of_a_mount_is_found_by_its_number() {
        let text = "25 1 0:23 / / rw - btrfs /dev/vda2 rw,x\n125 25 0:5 / /dev rw master:1 - devtmpfs dev rw\n";
        assert_eq!(source_of(text, 25), Some("/dev/vda2"));
        assert_eq!(source_of(text, 125), Some("dev"));
        assert_eq!(source_of(text, 5), None);
    }

    #[test]
    fn the_record_is_one_line_of_json() {
        let hex = "a".repeat(64);
        let words = KernelWords::parse(&format!("composefs=?{hex}")).unwrap();
        assert_eq!(
            text(&words.images[0], "composefs:x", false, None),
            format!(
                "{{\"digest\":\"{hex}\",\"algorithm\":\"sha256\",\"verity\":\"off\",\"word\":\"composefs=?{hex}\",\
                 \"source\":\"composefs:x\"}}\n"
            )
        );
    }
}
