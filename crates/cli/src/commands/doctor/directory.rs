//! Checks the file system of a directory: the features that objects and images need.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use libcomposefs_sys::copy::{Cloned, clone_file};
use libcomposefs_sys::tempfile::Temporary;
use libcomposefs_sys::verity::{Enabled, enable};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, write};

use super::finding::{DoctorFinding, Status};

/// Returns the findings on a directory.
pub(super) fn look(path: &Path) -> Vec<DoctorFinding> {
    let (kind, device) = file_system(path).unwrap_or_else(|| ("unknown".into(), String::new()));
    let mut findings = vec![DoctorFinding::new(
        "file system",
        Status::Ok,
        if device.is_empty() { kind.clone() } else { format!("{kind} on {device}") },
        "objects and images are stored here",
    )];
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = match open(path, flags, Mode::empty()) {
        Ok(directory) => Arc::new(directory),
        Err(errno) => {
            let error = std::io::Error::from(errno);
            findings.push(DoctorFinding::new(
                "directory",
                Status::Unknown,
                error.to_string(),
                "its features cannot be tested",
            ));
            return findings;
        }
    };
    let made = Temporary::create(&directory, 0o600).and_then(|first| {
        // On a full disk, files can be created but not written.
        write(&first, &[7; 4096])?;
        Ok(first)
    });
    match made {
        Ok(first) => {
            findings.push(unnamed(&first));
            findings.push(reflink(&directory, &first));
            findings.push(verity(&directory, &kind, &device));
        }
        Err(error) => {
            let remedy = match Errno::from_io_error(&error) {
                Some(Errno::NOSPC | Errno::DQUOT) => {
                    "free some space: images can still be mounted and read; `composefs untag` and `composefs gc` work"
                }
                Some(Errno::ROFS) => "remount it read-write: images can still be mounted and read",
                _ => "give a writable directory, or run this as its owner",
            };
            findings.push(
                DoctorFinding::new(
                    "directory",
                    Status::Unknown,
                    format!("cannot write a file: {error}"),
                    "its features cannot be tested",
                )
                .remedy(remedy),
            );
        }
    }
    findings
}

fn unnamed(file: &Temporary) -> DoctorFinding {
    let means = "temporary files of a killed command disappear by themselves";
    if file.is_named() {
        DoctorFinding::new(
            "O_TMPFILE",
            Status::Warning,
            "not supported by the file system",
            "temporary files of a killed command stay until gc",
        )
    } else {
        DoctorFinding::new("O_TMPFILE", Status::Ok, "supported", means)
    }
}

fn reflink(directory: &Arc<OwnedFd>, first: &Temporary) -> DoctorFinding {
    let means = "objects share their extents with the source files";
    let cloned = Temporary::create(directory, 0o600).and_then(|second| {
        let bytes = [7; 4096];
        write(first, &bytes)?;
        clone_file(first.as_fd(), second.as_fd())
    });
    match cloned {
        Ok(Cloned::Yes) => DoctorFinding::new("reflink", Status::Ok, "supported", means),
        Ok(_) => DoctorFinding::new(
            "reflink",
            Status::Warning,
            "not supported by the file system",
            "objects are copies of the source files",
        ),
        Err(error) => {
            DoctorFinding::new("reflink", Status::Warning, error.to_string(), "objects are copies of the source files")
        }
    }
}

fn verity(directory: &Arc<OwnedFd>, kind: &str, device: &str) -> DoctorFinding {
    let means = "the kernel verifies all reads; without it only mounts in user space (--via=fuse) are verified";
    let tried = Temporary::create(directory, 0o600).and_then(|mut file| {
        write(&file, &[7; 5000])?;
        file.reopen_read_only()?;
        enable(&file, 1, 4096)
    });
    match tried {
        Ok(Enabled::Now | Enabled::Before) => {
            DoctorFinding::new("fs-verity", Status::Ok, "enabled on a test file", means)
        }
        Ok(Enabled::Unsupported) => {
            DoctorFinding::new("fs-verity", Status::Missing, why_unsupported(kind), means).remedy(remedy(kind, device))
        }
        Err(error) => {
            let finding = DoctorFinding::new("fs-verity", Status::Missing, error.to_string(), means);
            match Errno::from_io_error(&error) {
                Some(Errno::INVAL) => {
                    finding.remedy("use a file system with blocks of 4096 bytes, and a kernel with pages of 4096 bytes")
                }
                Some(Errno::NOPKG) => finding.remedy("use a kernel with CONFIG_CRYPTO_SHA256"),
                _ => finding,
            }
        }
    }
}

/// Returns why the file system of `path` has no fs-verity, and a remedy.
pub(in crate::commands) fn no_verity(path: &Path) -> (String, String) {
    let (kind, device) = file_system(path).unwrap_or_else(|| ("unknown".into(), String::new()));
    (why_unsupported(&kind), remedy(&kind, &device))
}

fn why_unsupported(kind: &str) -> String {
    if kernel_has_no_verity(kind) {
        return "the kernel was built without fs-verity".into();
    }
    match kind {
        "ext4" | "f2fs" => format!("this {kind} was created without the verity feature"),
        "unknown" => "the file system does not support fs-verity".into(),
        _ => format!("{kind} does not support fs-verity"),
    }
}

/// Returns true if the kernel's list of features of this file system lacks verity.
fn kernel_has_no_verity(kind: &str) -> bool {
    let features = Path::new("/sys/fs").join(kind).join("features");
    matches!(kind, "ext4" | "f2fs") && features.is_dir() && !features.join("verity").exists()
}

fn remedy(kind: &str, device: &str) -> String {
    if kernel_has_no_verity(kind) {
        return "use a kernel with CONFIG_FS_VERITY".into();
    }
    match kind {
        "ext4" => format!("tune2fs -O verity {}", if device.is_empty() { "DEVICE" } else { device }),
        "f2fs" => "create it again with `mkfs.f2fs -O verity`".into(),
        "btrfs" => "use a kernel with CONFIG_FS_VERITY".into(),
        _ => "store objects and images on ext4 (`-O verity`), btrfs or f2fs; or use --insecure, and check with \
              `composefs fsck`"
            .into(),
    }
}

/// Returns type and source of the file system that contains a path.
fn file_system(path: &Path) -> Option<(String, String)> {
    let device = fs::metadata(path).ok()?.dev();
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let full = path.canonicalize().ok()?;
    let numbers = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let line = |line: &str| {
        let mut fields = line.split(' ');
        let (number, target) = (fields.nth(2)?, fields.nth(1)?);
        // btrfs has a device number for each subvolume, which mountinfo does not show.
        let depth = full.starts_with(target).then_some(target.len());
        fields.find(|field| *field == "-")?;
        Some((number == numbers, depth?, fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    let best = mounts.lines().filter_map(line).max_by_key(|(is_same, depth, ..)| (*depth, *is_same))?;
    Some((best.2, best.3))
}
