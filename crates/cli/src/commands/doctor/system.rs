//! Checks the kernel, and the privileges of the process.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use libcomposefs_mount::{Overlayfs, release};
use libcomposefs_sys::mount::{FsContext, errno_text};
use libcomposefs_sys::resolve_beneath::open_directory_beneath;
use libcomposefs_sys::user_namespace::is_in_one;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::finding::{DoctorFinding, Section, Status};
use crate::commands::mount::self_test::{SelfTest, SelfTestFailure, TestFailureKind};
use crate::commands::mount::{ChosenWay, TIMEOUT_DEFAULT, request_limit};
use crate::error_text::message;
use crate::trust::ImageTrust;

/// Number of `CAP_SYS_ADMIN` (`include/uapi/linux/capability.h`).
const CAP_SYS_ADMIN: u32 = 21;

pub(super) fn look() -> Section {
    let findings = vec![
        kernel(),
        permissions(),
        openat2_there(),
        erofs(),
        overlayfs(),
        loop_devices(),
        fuse(),
        way(),
        lazy(),
        namespaces(),
        policies(),
    ];
    Section { title: "system".into(), findings }
}

fn kernel() -> DoctorFinding {
    DoctorFinding::new(
        "kernel",
        Status::Ok,
        format!("Linux {}", release()),
        "its features are probed below, not derived from its version",
    )
}

fn policies() -> DoctorFinding {
    let name = "trust policy";
    let trust = match ImageTrust::load() {
        Ok(trust) => trust,
        Err(error) => {
            let found = message(&error);
            let means = "no image gets a name or is mounted until the policy is mended";
            return DoctorFinding::new(name, Status::Warning, found, means);
        }
    };
    let paths: Vec<_> = trust.policies().iter().map(|loaded| loaded.path.display().to_string()).collect();
    if paths.is_empty() {
        return DoctorFinding::new(
            name,
            Status::Ok,
            "none",
            "nothing is demanded of images: see `composefs trust --help`",
        );
    }
    DoctorFinding::new(
        name,
        Status::Ok,
        paths.join(", "),
        "images get names and are mounted only if each policy accepts",
    )
}

fn permissions() -> DoctorFinding {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let capable = field("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
    let uid = rustix::process::geteuid().as_raw();
    let filtered = if field("Seccomp:") == Some("2") { ", with a seccomp filter" } else { "" };
    match capable.map(|set| set & (1 << CAP_SYS_ADMIN) != 0) {
        Some(true) if is_in_one() == Some(true) => DoctorFinding::new(
            "permissions",
            Status::Missing,
            format!("user {uid} of a user namespace, CAP_SYS_ADMIN only in it{filtered}"),
            "images can be mounted in user space; the kernel allows no EROFS mounts in a user namespace",
        )
        .remedy("mount outside the user namespace (or rootless container), as root of the initial one"),
        Some(true) => DoctorFinding::new(
            "permissions",
            Status::Ok,
            format!("user {uid}, CAP_SYS_ADMIN{filtered}"),
            "the process may mount",
        ),
        Some(false) => DoctorFinding::new(
            "permissions",
            Status::Missing,
            format!("user {uid}, without CAP_SYS_ADMIN{filtered}"),
            "images can be built, read, checked and extracted, and mounted in user space",
        )
        .remedy("mount as root; run this command as root to check whether that works"),
        None => {
            DoctorFinding::new("permissions", Status::Unknown, "not shown in /proc/self/status", "is /proc mounted?")
        }
    }
}

fn openat2_there() -> DoctorFinding {
    let means = "paths in repositories of other users are opened safely in one call";
    match openat2(rustix::fs::CWD, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::BENEATH) {
        Ok(_) => DoctorFinding::new("openat2", Status::Ok, "supported", means),
        Err(errno) => {
            let other = rustix::fs::open(".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
                .is_ok_and(|here| open_directory_beneath(std::os::fd::AsFd::as_fd(&here), b".").is_ok());
            let status = if other { Status::Warning } else { Status::Missing };
            DoctorFinding::new("openat2", status, errno_text(errno), "paths are opened one component at a time instead")
        }
    }
}

/// Returns true if the kernel lists a file system as loaded.
fn is_listed(name: &str) -> bool {
    let list = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    list.lines().any(|line| line.split_whitespace().last() == Some(name))
}

fn erofs() -> DoctorFinding {
    let means = "images are EROFS: without it nothing can be mounted";
    let missing = |found: String| {
        DoctorFinding::new("erofs", Status::Missing, found, means)
            .remedy("run `modprobe erofs`, or use a kernel with CONFIG_EROFS_FS")
    };
    match FsContext::open("erofs") {
        Ok(_) => DoctorFinding::new("erofs", Status::Ok, "supported by the kernel", means),
        Err(error) if error.errno == Errno::NODEV => missing(error.to_string()),
        Err(_) if is_listed("erofs") => DoctorFinding::new("erofs", Status::Ok, "supported by the kernel", means),
        Err(error) => DoctorFinding::new(
            "erofs",
            Status::Unknown,
            format!("not loaded; cannot probe whether the module is available: {error}"),
            means,
        ),
    }
}

fn overlayfs() -> DoctorFinding {
    let means = "overlayfs provides the contents of an image's files, and makes the kernel verify them";
    match Overlayfs::probe() {
        Ok(Overlayfs { contexts: true, verity: true }) => {
            DoctorFinding::new("overlayfs", Status::Ok, "data-only layers, lowerdir+, verity=require", means)
        }
        Ok(Overlayfs { verity: false, contexts }) => {
            let found =
                if contexts { "lowerdir+, but no verity option" } else { "neither lowerdir+ nor a verity option" };
            DoctorFinding::new(
                "overlayfs",
                Status::Missing,
                found,
                "images can be mounted, but the kernel does not verify their files",
            )
            .remedy("use Linux 6.6 or newer for verified mounts")
        }
        Ok(Overlayfs { contexts: false, verity: true }) => {
            DoctorFinding::new("overlayfs", Status::Warning, "verity, with mount(2) only", means)
        }
        Err(error) if error.errno == Errno::NODEV => {
            DoctorFinding::new("overlayfs", Status::Missing, error.to_string(), "nothing can be mounted without it")
                .remedy("run `modprobe overlay`, or use a kernel with CONFIG_OVERLAY_FS")
        }
        Err(error) => DoctorFinding::new("overlayfs", Status::Unknown, error.to_string(), means),
    }
}

fn loop_devices() -> DoctorFinding {
    let means = "needed if the kernel cannot mount an image from its file (before 6.12, or on tmpfs)";
    let control = Path::new("/dev/loop-control");
    match fs::File::open(control) {
        Ok(_) => DoctorFinding::new("loop devices", Status::Ok, "/dev/loop-control exists", means),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            DoctorFinding::new("loop devices", Status::Warning, "/dev/loop-control does not exist", means)
                .remedy("run `modprobe loop`; for a container, pass /dev/loop-control and the loop devices to it")
        }
        Err(error) => DoctorFinding::new("loop devices", Status::Warning, format!("/dev/loop-control: {error}"), means),
    }
}

fn fuse() -> DoctorFinding {
    let means = "mounts in user space need it: a server verifies every block that is read";
    let helper = ["fusermount3", "fusermount"].into_iter().find(|name| in_path(name));
    match (fs::File::options().read(true).write(true).open("/dev/fuse"), helper) {
        (Ok(_), Some(helper)) => DoctorFinding::new("fuse", Status::Ok, format!("/dev/fuse, {helper}"), means),
        (Ok(_), None) => DoctorFinding::new("fuse", Status::Warning, "/dev/fuse, but no fusermount3", means)
            .remedy("install fuse3, for users other than root"),
        (Err(error), _) => DoctorFinding::new("fuse", Status::Warning, format!("/dev/fuse: {error}"), means)
            .remedy("run `modprobe fuse`; for a container, pass /dev/fuse to it"),
    }
}

/// The way that `composefs mount` takes for this user, and who verifies contents then.
fn way() -> DoctorFinding {
    let means = "`composefs mount` takes this way unless --via= is given";
    match ChosenWay::of_caller() {
        ChosenWay::Kernel => DoctorFinding::new(
            "way to mount",
            Status::Ok,
            "kernel; it verifies files that have fs-verity, and with --via=fuse a server verifies every block",
            means,
        ),
        ChosenWay::Overlay => DoctorFinding::new(
            "way to mount",
            Status::Ok,
            "overlay; the kernel verifies objects that have fs-verity if the repository demands it, else a server of \
             this user verifies every block",
            means,
        ),
        ChosenWay::Fuse => {
            DoctorFinding::new("way to mount", Status::Ok, "fuse; a server of this user verifies every block", means)
        }
    }
}

/// What lazy mounts rely on, tested now, and the limit of the kernel for their answers.
fn lazy() -> DoctorFinding {
    let means = "`composefs mount --lazy` shows an image before its contents are here";
    let limit = request_limit().map(|limit| limit.as_secs());
    if let Some(limit) = limit.filter(|limit| *limit <= TIMEOUT_DEFAULT) {
        let found = format!("fs.fuse.max_request_timeout is {limit}: an object may take no longer");
        return DoctorFinding::new("lazy mounts", Status::Warning, found, means)
            .remedy("sysctl fs.fuse.max_request_timeout=0, or use --timeout");
    }
    if ChosenWay::of_caller() != ChosenWay::Kernel {
        let found = "fuse; a server of this user fetches objects";
        return DoctorFinding::new("lazy mounts", Status::Ok, found, means);
    }
    match SelfTest::LazyLayers.run() {
        Ok(()) => {
            let found = "overlayfs looks into the next layer after one that fetches an object";
            DoctorFinding::new("lazy mounts", Status::Ok, found, means)
        }
        Err(SelfTestFailure { kind: TestFailureKind::NextLayer, reason }) => {
            DoctorFinding::new("lazy mounts", Status::Warning, format!("the image is pulled first: {reason}"), means)
                .remedy("use --via=fuse, with which a server fetches objects")
        }
        Err(failure) => {
            let found = format!("fuse, a server fetches objects: {}", failure.reason);
            DoctorFinding::new("lazy mounts", Status::Warning, found, means)
                .remedy("use Linux 6.15 or newer, whose overlayfs reads objects that are here without a server")
        }
    }
}

fn in_path(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

/// Tests user namespaces in a child program: a process with threads cannot enter one, and could not leave it again.
fn namespaces() -> DoctorFinding {
    let means = "rootless container engines need them";
    let text = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let limit = text("/proc/sys/user/max_user_namespaces");
    let refusing = [
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    ];
    let refusing = refusing.into_iter().find(|(path, value, _)| text(path).as_deref() == Some(value));
    if limit.as_deref() == Some("0") || limit.is_none() {
        return DoctorFinding::new("user namespaces", Status::Warning, "not allowed by the kernel", means)
            .remedy("sysctl user.max_user_namespaces=15000, on a kernel with CONFIG_USER_NS");
    }
    if let Some((path, value, remedy)) = refusing {
        return DoctorFinding::new(
            "user namespaces",
            Status::Warning,
            format!("{path} is {value}: allowed for root only"),
            means,
        )
        .remedy(format!("sysctl {remedy}"));
    }
    let tried = Command::new("unshare").args(["--user", "true"]).stdin(Stdio::null()).output();
    match tried {
        Ok(output) if !output.status.success() => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            DoctorFinding::new("user namespaces", Status::Warning, why, means)
        }
        Ok(_) => DoctorFinding::new("user namespaces", Status::Ok, "created one", means),
        Err(_) => DoctorFinding::new("user namespaces", Status::Ok, "allowed by the kernel", means),
    }
}
