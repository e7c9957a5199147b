//! A Debian with systemd as an image, on a disk of `composefs disk`, booted to multi-user by three kinds of initramfs.
//!
//! The initramfs of initramfs-tools and dracut are made in that Debian with the files that the package
//! `composefs-initramfs` has. Each boot has a twin with a digest of no image, which is refused.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::BootCheck;
use crate::dist::stage::Staged;
use crate::e2e::chroot::{Chroot, ChrootRecipe, Net};
use crate::kernel::{Fetched, Kernel};
use crate::test::own_init;
use crate::vm::{Disk, End, Exit, Machine};
use crate::{artifacts, process};

const SYSTEM: ChrootRecipe = ChrootRecipe {
    name: "boot",
    suite: "trixie",
    packages: &["dracut-core", "initramfs-tools", "linux-image-cloud-amd64", "systemd-sysv", "udev", "zstd"],
};

pub(super) const CHECKS: [BootCheck<SystemWorkshop>; 4] = [
    ("system_boots_by_our_initramfs", |system| system.boots_and_is_refused(&system.own()?)),
    ("system_boots_by_initramfs_tools", |system| system.boots_and_is_refused(&system.of_initramfs_tools()?)),
    ("system_boots_by_dracut", |system| system.boots_and_is_refused(&system.of_dracut()?)),
    ("system_boots_softly", |system| system.boots(&system.own()?, "e2e.soft-reboot")),
];

/// The service that judges the system when it is up.
const SERVICE: &str = include_str!("proof.service");
const PROOF: &str = include_str!("proof.sh");
/// Longest boot to multi-user: about 60 seconds of CPU time under QEMU's translator.
const TIMEOUT: Duration = Duration::from_secs(480);

/// The system as an image, and a disk with it.
pub(super) struct SystemWorkshop {
    dir: tempfile::TempDir,
    chroot: Chroot,
    programs: artifacts::BootPrograms,
    kernel: Fetched,
    digest: String,
}

impl SystemWorkshop {
    /// Makes the image and the disk.
    pub(super) fn new() -> Result<Self> {
        let (composefs, programs) = (artifacts::program()?, artifacts::boot_programs()?);
        let chroot = SYSTEM.set_up()?;
        let root = chroot.path("");
        Staged { root: root.clone() }.initramfs()?;
        chroot.write("usr/local/sbin/e2e-proof", PROOF, 0o755)?;
        chroot.write("etc/systemd/system/e2e-proof.service", SERVICE, 0o644)?;
        let wants = chroot.path("etc/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants)?;
        fs::create_dir_all(chroot.path("sysroot"))?;
        let _ = fs::remove_file(wants.join("e2e-proof.service"));
        symlink("../e2e-proof.service", wants.join("e2e-proof.service"))?;

        let dir = tempfile::Builder::new().prefix("composefs-e2e-system.").tempdir()?;
        let repository = dir.path().join("repository");
        let run = |words: &[&Path]| {
            process::text(Command::new(&composefs).arg("--repo").arg(&repository).args(words))
                .map(|text| text.trim().to_owned())
        };
        run(&["init", "--insecure"].map(Path::new))?;
        let digest = run(&[Path::new("create"), &root, Path::new("--bootable"), Path::new("--name=os")])?;
        let lacks = run(&["check", "--bootable", "os"].map(Path::new))?;
        ensure!(!lacks.contains("missing"), "{lacks}");
        run(&[Path::new("disk"), Path::new("os"), &dir.path().join("disk"), Path::new("--size=2G")])?;
        let kernel = kernel_of(&root)?;
        Ok(Self { dir, chroot, programs, kernel, digest })
    }

    /// Makes an initramfs with the program as `/init`, and modules.
    fn own(&self) -> Result<PathBuf> {
        let initramfs = self.dir.path().join("own");
        own_init::initramfs(&self.kernel, &self.programs.plain, 0)?.write(File::create(&initramfs)?)?;
        Ok(initramfs)
    }

    fn of_initramfs_tools(&self) -> Result<PathBuf> {
        self.made_by(&["mkinitramfs", "-o", "/srv/initramfs", &self.kernel.release], "tools")
    }

    fn of_dracut(&self) -> Result<PathBuf> {
        let words =
            ["dracut", "--force", "--no-hostonly", "--no-hostonly-cmdline", "--add", "systemd-initrd composefs"];
        self.made_by(&[&words[..], &["--kver", &self.kernel.release, "/srv/initramfs"]].concat(), "dracut")
    }

    /// Runs a command of the system that writes an initramfs, and takes it out of the system.
    fn made_by(&self, words: &[&str], name: &str) -> Result<PathBuf> {
        process::output(&mut self.chroot.command(Net::Own, words))?;
        let (made, to) = (self.chroot.path("srv/initramfs"), self.dir.path().join(name));
        fs::copy(&made, &to)?;
        fs::remove_file(made)?;
        Ok(to)
    }

    fn boots_and_is_refused(&self, initramfs: &Path) -> Result<()> {
        self.boots(initramfs, "")?;
        let words = format!("composefs={} composefs.refused=poweroff", "ab".repeat(32));
        let refused = self.boot(initramfs, &words)?;
        let says = refused.console.clone();
        refused.expect(End::Died)?;
        let line = "composefs: BOOT REFUSED: the repository has no image that the command line names";
        ensure!(says.contains(line), "the console does not have {line:?}: {says}");
        Ok(())
    }

    fn boots(&self, initramfs: &Path, words: &str) -> Result<()> {
        let booted = self.boot(initramfs, &format!("composefs={} {words}", self.digest))?;
        let booted = booted.expect(End::Exited(0))?;
        ensure!(booted.release == self.kernel.release, "another kernel: {}", booted.release);
        Ok(())
    }

    /// Boots a copy of the disk.
    fn boot(&self, initramfs: &Path, words: &str) -> Result<Exit> {
        let file = self.dir.path().join("booted");
        let mut copy = Command::new("cp");
        process::output(copy.arg("--sparse=always").arg(self.dir.path().join("disk")).arg(&file))?;
        let words = format!("root=/dev/vda2 rootfstype=ext4 rw {words}");
        let machine = Machine::with_initramfs_file(self.kernel.clone(), initramfs.to_owned(), &words);
        machine.memory_mib(1024).timeout(TIMEOUT).scratch(Disk::Kept { file, mib: 0 }).run(&mut |_, _| {})
    }
}

/// Returns the kernel that the system has installed.
fn kernel_of(root: &Path) -> Result<Fetched> {
    let mut releases = fs::read_dir(root.join("usr/lib/modules"))?;
    let modules = releases.next().context("the system has no kernel")??.path();
    let release = modules.file_name().context("no release")?.to_string_lossy().into_owned();
    let image = root.join(format!("boot/vmlinuz-{release}"));
    ensure!(image.metadata()?.permissions().mode() & 0o400 != 0, "{} cannot be read", image.display());
    Ok(Fetched { kernel: Kernel::Stable, release, image, modules })
}
