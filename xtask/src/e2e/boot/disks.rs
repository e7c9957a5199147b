//! The disks: an image with a first program of ours, signed kernels for it, and `composefs disk`.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::firmware::{Firmware, FirmwareBoot, SecureBoot};
use super::unified::unified_kernel;
use crate::kernel::{self, Fetched};
use crate::test::own_init;
use crate::{artifacts, process};

const INIT: &str = include_str!("init.sh");
/// Words of every command line.
const WORDS: &str = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on no_timer_check audit=0 rw \
    composefs.refused=reboot";
/// Length of the disk's beginning that has the partition of the boot loader.
const ESP_END: u64 = 513 << 20;

/// All that disks are made of.
pub(super) struct BootWorkshop {
    firmware: Firmware,
    composefs: PathBuf,
    dir: tempfile::TempDir,
    kernel: Fetched,
    /// The digest of the image.
    pub(super) digest: String,
}

/// A kernel to be made.
pub(super) struct BootKernel {
    /// Its version, by which the boot loader sorts, and the word `entry=` of its command line.
    pub(super) entry: &'static str,
    /// The partition of the root file system.
    pub(super) root: &'static str,
    pub(super) is_signed: bool,
}

impl BootKernel {
    /// A signed kernel that boots the image.
    pub(super) fn good(entry: &'static str) -> Self {
        Self { entry, root: "/dev/vda2", is_signed: true }
    }
}

impl BootWorkshop {
    /// Builds the programs and makes the image.
    pub(super) fn new() -> Result<Self> {
        let firmware = Firmware::set_up()?;
        let (composefs, setup_root) = (artifacts::program()?, artifacts::boot_programs()?.plain);
        let kernel = kernel::Kernel::Stable.fetch()?;
        let dir = tempfile::Builder::new().prefix("composefs-e2e-boot.").tempdir()?;
        let initramfs = own_init::initramfs(&kernel, &setup_root, 0)?;
        initramfs.write(File::create(dir.path().join("initramfs"))?)?;
        firmware.sign(&firmware.systemd("systemd-bootx64.efi"), &dir.path().join("loader.efi"))?;
        let mut workshop = Self { firmware, composefs, dir, kernel, digest: String::new() };
        workshop.digest = workshop.make_image()?;
        Ok(workshop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn make_image(&self) -> Result<String> {
        let tree = self.path("tree");
        for name in ["bin", "boot", "dev", "etc", "proc", "run", "sbin", "sys", "sysroot", "usr", "var"] {
            fs::create_dir_all(tree.join(name))?;
        }
        fs::copy(process::require("busybox")?, tree.join("bin/busybox"))?;
        fs::write(tree.join("sbin/init"), INIT)?;
        fs::set_permissions(tree.join("sbin/init"), fs::Permissions::from_mode(0o755))?;
        fs::write(tree.join("usr/large"), vec![7; 3_000_000])?;
        self.run(&["init".as_ref(), "--insecure".as_ref()])?;
        self.run(&["create".as_ref(), tree.as_path(), "--bootable".as_ref(), "--name=os".as_ref()])
    }

    fn run(&self, words: &[&Path]) -> Result<String> {
        let mut command = Command::new(&self.composefs);
        command.arg("--repo").arg(self.path("repository")).args(words);
        process::text(&mut command).map(|text| text.trim().to_owned())
    }

    /// Makes a kernel with this file name.
    pub(super) fn kernel(&self, name: &str, kernel: &BootKernel) -> Result<PathBuf> {
        let stub = fs::read(self.firmware.systemd("linuxx64.efi.stub"))?;
        let names = format!("ID=composefs\nVERSION_ID={0}\nPRETTY_NAME=\"composefs {0}\"\n", kernel.entry);
        let line = format!("{WORDS} root={} entry={} composefs={}", kernel.root, kernel.entry, self.digest);
        let (linux, initramfs) = (fs::read(&self.kernel.image)?, fs::read(self.path("initramfs"))?);
        let sections: [(&str, &[u8]); 5] = [
            (".osrel", names.as_bytes()),
            (".cmdline", line.as_bytes()),
            (".uname", self.kernel.release.as_bytes()),
            (".initrd", &initramfs),
            (".linux", &linux),
        ];
        let dir = tempfile::tempdir_in(self.dir.path())?.keep();
        let (unsigned, signed) = (dir.join("unsigned"), dir.join(name));
        fs::write(&unsigned, unified_kernel(&stub, &sections)?)?;
        match kernel.is_signed {
            true => self.firmware.sign(&unsigned, &signed)?,
            false => fs::rename(&unsigned, &signed)?,
        }
        Ok(signed)
    }

    /// Makes a disk with these kernels.
    pub(super) fn disk(&self, kernels: &[PathBuf]) -> Result<SignedDisk<'_>> {
        let dir = tempfile::tempdir_in(self.dir.path())?;
        let disk = dir.path().join("disk");
        let options = kernels.iter().map(|path| format!("--uki={}", path.display()));
        let options = options.chain([format!("--loader={}", self.path("loader.efi").display())]);
        let options: Vec<String> = options.chain(["--size=768M".to_owned()]).collect();
        let words = ["disk".as_ref(), "os".as_ref(), disk.as_path()];
        self.run(&words.into_iter().chain(options.iter().map(Path::new)).collect::<Vec<_>>())?;
        Ok(SignedDisk { workshop: self, disk, _dir: dir })
    }
}

/// A disk, which is removed with this value.
pub(super) struct SignedDisk<'w> {
    workshop: &'w BootWorkshop,
    disk: PathBuf,
    _dir: tempfile::TempDir,
}

impl SignedDisk<'_> {
    /// Boots the disk, until the machine is off or the console has one of these texts. What the machine writes stays on
    /// the disk.
    pub(super) fn boot(&self, secure: SecureBoot, until: &[&str]) -> Result<FirmwareBoot> {
        self.workshop.firmware.boot(&self.disk, secure, until)
    }

    /// Changes one digit of the digest on the command line of the kernel.
    pub(super) fn change_command_line(&self, digest: &str) -> Result<()> {
        let text = format!("composefs={digest}");
        let mut grep = Command::new(process::require("grep")?);
        grep.args(["--byte-offset", "--only-matching", "--text", "--fixed-strings", &text]).arg(&self.disk);
        let found = process::text(grep.env("LC_ALL", "C"))?;
        let found: Vec<u64> =
            found.lines().filter_map(|line| line.split(':').next()?.parse().ok()).filter(|at| *at < ESP_END).collect();
        ensure!(found.len() == 1, "the command line is {} times on the disk", found.len());
        let file = File::options().write(true).open(&self.disk)?;
        let last = text.as_bytes().last().copied().context("no digit")?;
        let other = if last == b'0' { b'1' } else { b'0' };
        Ok(file.write_all_at(&[other], found[0] + text.len() as u64 - 1)?)
    }
}
