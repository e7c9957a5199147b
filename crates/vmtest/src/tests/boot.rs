//! Boot entries on a real FAT, of an image in a repository that demands fs-verity.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::command::{self, Ran};
use crate::context::Context;
use crate::kernel::Kernels;

super::tests! { "boot", Kernels::All => [sealed_images_are_installed_and_a_full_partition_is_refused] }

/// Size of a kernel; an initramfs is as large.
const KERNEL: usize = 400_000;

/// A disk with a repository, and the EFI system partition of a disk that `composefs disk` made.
struct BootPlace<'c> {
    context: &'c Context,
    dir: PathBuf,
}

impl BootPlace<'_> {
    fn composefs(&self, words: &[&str]) -> Result<Ran> {
        command::run(self.context.composefs().args(words).current_dir(&self.dir))
    }

    fn boot(&self, words: &[&str]) -> Result<Ran> {
        self.composefs(&[&["boot"], words, &["--sysroot=disk", "--esp=esp"]].concat())
    }

    /// Makes an image with a kernel of its own.
    fn image(&self, name: &str) -> Result<()> {
        let tree = self.dir.join(format!("tree-{name}"));
        for name in ["etc", "var", "usr/lib/modules/1", "sbin", "dev", "proc", "sys", "run", "sysroot", "boot"] {
            fs::create_dir_all(tree.join(name))?;
        }
        fs::write(tree.join("sbin/init"), "#!/bin/sh\n")?;
        fs::set_permissions(tree.join("sbin/init"), fs::Permissions::from_mode(0o755))?;
        for file in ["vmlinuz", "initramfs.img"] {
            let content = format!("{name} {file} ").into_bytes().into_iter().cycle().take(KERNEL).collect::<Vec<_>>();
            fs::write(tree.join("usr/lib/modules/1").join(file), content)?;
        }
        let (tree, name) = (format!("tree-{name}"), format!("--name=os/{name}"));
        self.composefs(&["--repo=disk/composefs", "create", "--bootable", &tree, &name])?.success().map(drop)
    }

    fn files(&self) -> Result<String> {
        let found = command::run(Command::new("find").args(["esp", "-type", "f"]).current_dir(&self.dir))?;
        let mut lines: Vec<_> = found.success()?.stdout.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        Ok(lines.join("\n"))
    }
}

fn sealed_images_are_installed_and_a_full_partition_is_refused(context: &Context) -> Result<()> {
    let place = BootPlace { context, dir: context.scratch("boot")? };
    for name in ["disk", "esp"] {
        fs::create_dir(place.dir.join(name))?;
    }
    place.composefs(&["--repo=disk/composefs", "init"])?.success()?;
    place.image("1")?;
    place.composefs(&["--repo=disk/composefs", "disk", "os/1", "made"])?.success()?;
    let mut mount = Command::new("mount");
    mount.args(["-t", "vfat", "-o", "loop,offset=1048576,sizelimit=536870912", "made", "esp"]).current_dir(&place.dir);
    command::run(&mut mount)?.success()?;
    let done = install(&place);
    command::run(Command::new("umount").arg("esp").current_dir(&place.dir))?.success()?;
    done
}

fn install(place: &BootPlace<'_>) -> Result<()> {
    place.boot(&["install", "os/1", "--no-verity"])?.exited(1)?.says("demands fs-verity, which neither --no-verity")?;
    let first = place.boot(&["install", "os/1"])?.success()?;
    ensure!(first.stderr.is_empty(), "{}", first.stderr);
    let text = fs::read_to_string(place.dir.join("esp/loader/entries").join(first.stdout.trim()))?;
    ensure!(text.contains("rw panic=10 composefs.digest=v1-sha256-12:"), "{text}");
    place.composefs(&["--repo=disk/composefs", "boot", "check", "os/1"])?.success()?;

    // 400 kB and 400 kB have no room in 600 kB.
    place.image("2")?;
    let before = place.files()?;
    let filler = place.dir.join("esp/filler");
    let stat = statvfs(place.dir.join("esp").as_path())?;
    fallocate(File::create(&filler)?, FallocateFlags::KEEP_SIZE, 0, stat.f_bavail * stat.f_frsize - 600_000)?;
    let refused = place.boot(&["install", "os/2"])?.exited(1)?.says("kernel, initramfs and entry need")?;
    let numbers: Vec<u64> = refused.stderr.split(' ').filter_map(|word| word.parse().ok()).collect();
    ensure!(matches!(numbers[..], [needed, free] if needed >= 800_000 && free <= 610_000), "{}", refused.stderr);
    fs::remove_file(&filler)?;
    ensure!(place.files()? == before, "{}\n{before}", place.files()?);

    unseal(place, "tree-2/usr/lib/modules/1/initramfs.img", || {
        place.boot(&["install", "os/2"])?.exited(1)?.says("has no fs-verity with its digest").map(drop)
    })?;
    let second = place.boot(&["install", "os/2", "--tries=3"])?.success()?;
    ensure!(second.stdout.trim().ends_with("+3.conf"), "{}", second.stdout);
    place.boot(&["rollback"])?.success()?;
    let order = place.boot(&["list"])?.success()?.stdout;
    ensure!(order.lines().next().is_some_and(|line| line.starts_with("composefs-3-")), "{order}");
    Ok(())
}

/// Takes fs-verity from the object of a file while `then` runs.
fn unseal(place: &BootPlace<'_>, file: &str, then: impl FnOnce() -> Result<()>) -> Result<()> {
    let digest = place.composefs(&["digest", file])?.success()?.stdout;
    let hex = digest.get(..64).context("no digest")?;
    let object = place.dir.join("disk/composefs/objects").join(&hex[..2]).join(&hex[2..]);
    let kept: &Path = &place.dir.join("kept");
    fs::rename(&object, kept)?;
    fs::copy(kept, &object)?;
    let done = then();
    fs::rename(kept, &object)?;
    done
}
