//! `cargo xtask setup`: the Debian packages the tests need, installed only where missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// A program or file the tests use, and the package that has it.
const NEEDS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-aarch64", "qemu-user"),
    ("busybox", "busybox-static"),
    ("mkfs.erofs", "erofs-utils"),
    ("mke2fs", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.btrfs", "btrfs-progs"),
    ("mkfs.vfat", "dosfstools"),
    ("sfdisk", "fdisk"),
    ("dmsetup", "dmsetup"),
    ("strace", "strace"),
    ("fsverity", "fsverity"),
    ("keyctl", "keyutils"),
    ("debootstrap", "debootstrap"),
    ("mksquashfs", "squashfs-tools"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("pigz", "pigz"),
    ("getfattr", "attr"),
    ("getfacl", "acl"),
    ("mount", "mount"),
    ("setpriv", "util-linux"),
    ("time", "time"),
    ("faketime", "faketime"),
    ("fusermount3", "fuse3"),
    ("rsync", "rsync"),
    ("docker-registry", "docker-registry"),
    ("skopeo", "skopeo"),
    ("podman", "podman"),
    ("buildah", "buildah"),
    ("umoci", "umoci"),
    ("tinyproxy", "tinyproxy-bin"),
    ("nginx", "nginx-light"),
    ("/usr/lib/systemd/systemd", "systemd"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("python3", "python3"),
    ("ip", "iproute2"),
    ("openssl", "openssl"),
    // The C compiler driver links every Rust program; libc's archive makes the static ones.
    ("cc", "gcc"),
    ("valgrind", "valgrind"),
    ("crun", "crun"),
    ("/usr/share/containers/seccomp.json", "golang-github-containers-common"),
    // libFuzzer is C++.
    ("c++", "g++"),
    ("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev"),
];

/// Runs `cargo xtask setup`.
pub(crate) fn run() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        eprintln!("setup: everything is there");
        return Ok(());
    }
    eprintln!("setup: installing {}", missing.join(" "));
    let uid = process::text(Command::new("id").arg("-u"))?;
    if uid.trim() != "0" {
        bail!("not root: install them yourself (apt-get install {}), or run this as root", missing.join(" "));
    }
    process::output(apt_get().args(["-qq", "update"]))?;
    process::output(apt_get().args(["-qq", "install", "--yes", "--no-install-recommends"]).args(&missing))?;
    match self::missing().as_slice() {
        [] => Ok(()),
        still => bail!("installed, but still missing: {}", still.join(" ")),
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Packages of servers must not start them.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    command
}

fn missing() -> Vec<&'static str> {
    let there =
        |need: &str| if need.starts_with('/') { Path::new(need).exists() } else { process::find(need).is_some() };
    let mut packages: Vec<_> = NEEDS.iter().filter(|(need, _)| !there(need)).map(|(_, package)| *package).collect();
    // A busybox that is there may be the dynamic one, which cannot be the first program of a guest.
    if !packages.contains(&"busybox-static") && !busybox_is_static() {
        packages.push("busybox-static");
    }
    if !python_has_environments() {
        packages.push("python3-venv");
    }
    packages
}

/// Reports whether `python3 -m venv` works: Debian has a part of it in a package of its own.
fn python_has_environments() -> bool {
    Command::new("/usr/bin/python3").args(["-c", "import ensurepip"]).output().is_ok_and(|run| run.status.success())
}

fn busybox_is_static() -> bool {
    let Some(busybox) = process::find("busybox") else { return false };
    Command::new("ldd").arg(busybox).output().is_ok_and(|ldd| !ldd.status.success())
}
