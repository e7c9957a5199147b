//! Process 1: makes the image its root, with `/proc`, `/dev` and `/tmp`, and runs the command.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, anyhow};
use libcomposefs_sys::in_root::{make_directories_in_root, open_directory_in_root};
use libcomposefs_sys::mount::{FsContext, MountAttrFlags, MountError, MountFd, clone_directory};
use libcomposefs_sys::signal_relay::SignalRelay;
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::Pid;

use crate::commands::oci::run::{CANNOT_EXECUTE, NOT_FOUND};
use crate::error_text::{print_error, with_remedy};

/// The directories of the system that programs are in.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Devices without hardware, which are those of the caller.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Symlinks in `/dev`, as udev has them.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Makes the mounted image the root of the process, and the only mounts those that belong to it.
pub(super) fn enter(root: &Path, is_writable: bool) -> anyhow::Result<()> {
    let image = File::open(root).with_context(|| format!("cannot open {}", root.display()))?;
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    mount_proc(image.as_fd(), is_writable, quiet | MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
    mount_devices(image.as_fd(), is_writable).map_err(|error| at("dev", error))?;
    // An image without the directory has no use for it.
    if !is_writable && let Ok(target) = open_directory_in_root(image.as_fd(), b"tmp") {
        new_file_system("tmpfs", &[("mode", "1777")], quiet)
            .and_then(|mount| mount.attach_to(target.as_fd(), "/tmp".as_ref()))
            .map_err(|error| at("tmp", error.into()))?;
    }
    let change_root = || -> io::Result<()> {
        rustix::process::fchdir(&image)?;
        rustix::process::pivot_root(".", ".")?;
        rustix::mount::unmount(".", UnmountFlags::DETACH)?;
        Ok(rustix::process::chdir("/")?)
    };
    change_root().map_err(|error| {
        let failed = format!("cannot make the image the root directory: {error}");
        if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) {
            let remedy = "the kernel replaces no root that is an initramfs: run it on a system with a mounted root";
            return with_remedy(failed, remedy);
        }
        anyhow!(failed)
    })
}

/// Runs the command to its end, and returns its exit status.
pub(super) fn run(relay: &SignalRelay, command: &[OsString]) -> anyhow::Result<u8> {
    let (program, args) = command.split_first().context("no command is given")?;
    let spawned = relay.spawn(Command::new(program).args(args).env("PATH", PATH));
    let child = match spawned {
        Ok(child) => child,
        Err(error) => {
            let status = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_EXECUTE };
            print_error("composefs", &anyhow!("cannot execute {}: {error}", program.display()));
            return Ok(status);
        }
    };
    let number = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("the command has no number")?;
    relay.wait_process(number, true).context("cannot wait for the command")
}

fn at(directory: &str, error: anyhow::Error) -> anyhow::Error {
    error.context(format!("cannot mount /{directory} of the command"))
}

/// Opens a directory of the image. A symlink leads to where it leads for the command.
fn directory(image: BorrowedFd<'_>, name: &str, is_writable: bool) -> anyhow::Result<OwnedFd> {
    let opened = if is_writable {
        make_directories_in_root(image, name.as_bytes())
    } else {
        open_directory_in_root(image, name.as_bytes())
    };
    opened.map_err(|errno| match errno {
        Errno::NOENT => with_remedy(
            format_args!("the image has no directory /{name}, which the command needs"),
            "use --rw, which makes the directory",
        ),
        errno => anyhow!("cannot open /{name} of the image: {}", io::Error::from(errno)),
    })
}

fn new_file_system(name: &str, options: &[(&str, &str)], flags: MountAttrFlags) -> Result<MountFd, MountError> {
    let context = FsContext::open(name)?;
    for (key, value) in options {
        context.set_string(key, *value)?;
    }
    context.create()?;
    context.mount(flags)
}

fn mount_proc(image: BorrowedFd<'_>, is_writable: bool, flags: MountAttrFlags) -> anyhow::Result<()> {
    let target = directory(image, "proc", is_writable)?;
    let mounted =
        new_file_system("proc", &[], flags).and_then(|mount| mount.attach_to(target.as_fd(), "/proc".as_ref()));
    mounted.map_err(|error| {
        let refused = format!("cannot mount /proc of the command: {error}");
        match error.errno {
            Errno::PERM => with_remedy(refused, "in a container whose /proc is covered in part, run it as root"),
            _ => anyhow!(refused),
        }
    })
}

fn mount_devices(image: BorrowedFd<'_>, is_writable: bool) -> anyhow::Result<()> {
    let target = directory(image, "dev", is_writable)?;
    let nosuid = MountAttrFlags::MOUNT_ATTR_NOSUID;
    let quiet = nosuid | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = new_file_system("tmpfs", &[("mode", "0755"), ("size", "64k")], quiet)?;
    mount.attach_to(target.as_fd(), "/dev".as_ref())?;
    let dev = mount.root()?;
    for name in DEVICES {
        let source = openat(CWD, format!("/dev/{name}"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let source = source.with_context(|| format!("cannot open /dev/{name}"))?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let place = openat(&dev, name, flags, Mode::from_raw_mode(0o666)).with_context(|| format!("/dev/{name}"))?;
        clone_directory(source.as_fd(), "/dev".as_ref())?.attach_to(place.as_fd(), name.as_ref())?;
    }
    for (name, to) in LINKS {
        symlinkat(to, &dev, name).with_context(|| format!("cannot create /dev/{name}"))?;
    }
    let make = |name: &str| -> anyhow::Result<OwnedFd> {
        mkdirat(&dev, name, Mode::from_raw_mode(0o755)).with_context(|| format!("cannot create /dev/{name}"))?;
        Ok(openat(&dev, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    };
    let options = [("ptmxmode", "0666"), ("mode", "0620")];
    new_file_system("devpts", &options, quiet)?.attach_to(make("pts")?.as_fd(), "/dev/pts".as_ref())?;
    let shared = nosuid | MountAttrFlags::MOUNT_ATTR_NODEV;
    new_file_system("tmpfs", &[("mode", "1777")], shared)?.attach_to(make("shm")?.as_fd(), "/dev/shm".as_ref())?;
    Ok(())
}
