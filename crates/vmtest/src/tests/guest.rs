//! The guest itself: what the other tests rely on without looking.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::command;
use crate::context::Context;
use crate::disk;
use crate::kernel::Kernels;
use crate::kernel_log::KernelLog;

super::tests! {
    "guest",
    Kernels::All => [
        program_under_test_runs, mount_is_the_real_one, kernel_log_is_read, disk_counters_tell_cold_from_warm,
    ],
    Kernels::Before((6, 12)) => [erofs_wants_a_block_device],
    Kernels::Since((6, 12)) => [erofs_mounts_a_file],
}

fn program_under_test_runs(context: &Context) -> Result<()> {
    command::run(&mut context.composefs())?;
    Ok(())
}

fn mount_is_the_real_one(_: &Context) -> Result<()> {
    let ran = command::run(Command::new("mount").arg("--version"))?.success()?;
    ensure!(ran.stdout.contains("util-linux"), "mount is {}", ran.stdout);
    Ok(())
}

fn kernel_log_is_read(_: &Context) -> Result<()> {
    let mut log = KernelLog::mark()?;
    fs::write("/dev/kmsg", "composefs: a word\n")?;
    ensure!(log.since()?.iter().any(|line| line.contains("composefs: a word")));
    ensure!(!log.since()?.iter().any(|line| line.contains("composefs: a word")), "it was read twice");
    Ok(())
}

fn disk_counters_tell_cold_from_warm(context: &Context) -> Result<()> {
    let file = context.scratch("counters")?.join("file");
    fs::write(&file, vec![1; 1 << 20])?;
    disk::drop_caches()?;
    let before = disk::sectors_read("vda")?;
    fs::read(&file)?;
    let cold = disk::sectors_read("vda")?;
    fs::read(&file)?;
    let warm = disk::sectors_read("vda")?;
    ensure!(cold - before >= 2048 && warm == cold, "{} sectors cold, {} warm", cold - before, warm - cold);
    Ok(())
}

/// The first thing that newer kernels can do and 6.1 cannot: an EROFS image mounted from a file, without a loop device.
fn erofs_mounts_a_file(context: &Context) -> Result<()> {
    let (image, target) = erofs_image(context)?;
    mount_erofs(&image, &target)?;
    let read = fs::read(target.join("name"));
    rustix::mount::unmount(&target, UnmountFlags::empty())?;
    ensure!(read? == b"content");
    Ok(())
}

fn erofs_wants_a_block_device(context: &Context) -> Result<()> {
    let (image, target) = erofs_image(context)?;
    let mounted = mount_erofs(&image, &target);
    ensure!(mounted == Err(Errno::NOTBLK), "mounting a file gave {mounted:?}");
    Ok(())
}

fn erofs_image(context: &Context) -> Result<(PathBuf, PathBuf)> {
    let dir = context.scratch("erofs")?;
    let (tree, image, target) = (dir.join("tree"), dir.join("image"), dir.join("target"));
    fs::create_dir(&tree)?;
    fs::create_dir(&target)?;
    fs::write(tree.join("name"), "content")?;
    command::run(Command::new("mkfs.erofs").arg(&image).arg(&tree))?.success()?;
    Ok((image, target))
}

/// By the system call: mount(8) would set up a loop device by itself.
fn mount_erofs(image: &Path, target: &Path) -> rustix::io::Result<()> {
    rustix::mount::mount(image, target, "erofs", MountFlags::RDONLY, None)
}
