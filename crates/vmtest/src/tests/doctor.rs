//! `composefs doctor` says what is true: where it says that verified mounts work they do, elsewhere they do not.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::command::{self, Ran};
use crate::context::Context;
use crate::kernel::Kernels;

super::tests! { "doctor",
    Kernels::Since((6, 6)) => [it_finds_that_all_is_there],
    Kernels::Before((6, 6)) => [it_finds_what_an_old_kernel_lacks],
    Kernels::All => [it_finds_what_a_file_system_lacks],
}

fn doctor(context: &Context, dir: &Path) -> Result<Ran> {
    command::run(context.composefs().arg("doctor").arg(dir))
}

/// A verified mount as a user would make one; whether it was made and can be read.
fn verified_mount(context: &Context, dir: &Path) -> Result<Ran> {
    let tree = dir.join("tree");
    fs::create_dir(&tree)?;
    fs::create_dir(dir.join("mnt"))?;
    fs::write(tree.join("file"), vec![b'f'; 10_000])?;
    let program = dir.join("mkcomposefs");
    symlink(context.composefs().get_program(), &program)?;
    let mut make = Command::new(&program);
    make.args(["--digest-store=objects", "--print-digest", "tree", "image"]).current_dir(dir);
    let digest = command::run(&mut make)?.success()?.stdout.trim().to_owned();
    // Without fs-verity the mount must be what fails.
    let _ = command::run(Command::new("fsverity").args(["enable", "--block-size=4096"]).arg(dir.join("image")))?;
    let options = format!("basedir=objects,digest={digest},verity_check=2");
    let mounted = command::run(context.composefs().args(["mount", "image", "mnt", "-o", &options]).current_dir(dir))?;
    if mounted.status == Some(0) {
        let read = fs::read(dir.join("mnt/file"))?;
        command::run(context.composefs().args(["umount", "mnt"]).current_dir(dir))?.success()?;
        ensure!(read.len() == 10_000, "another content");
    }
    Ok(mounted)
}

fn expect(ran: &Ran, text: &str) -> Result<()> {
    ensure!(ran.stdout.contains(text), "{} does not say {text:?}:\n{}", ran.command, ran.stdout);
    Ok(())
}

/// Nothing of the trials stays.
fn expect_nothing_left(dir: &Path) -> Result<()> {
    let left: Vec<PathBuf> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(left.iter().all(|path| !path.to_string_lossy().contains("doctor-")), "{left:?}");
    ensure!(!fs::read_to_string("/proc/self/mountinfo")?.contains("doctor-"), "something is still mounted");
    Ok(())
}

fn it_finds_that_all_is_there(context: &Context) -> Result<()> {
    let dir = context.scratch("doctor")?;
    let found = doctor(context, &dir)?.exited(0)?;
    expect(&found, "verified mounts work here")?;
    expect(&found, "ok       fs-verity: enabled on a test file")?;
    expect(&found, "ok       overlayfs: data-only layers, lowerdir+, verity=require")?;
    expect_nothing_left(&dir)?;
    verified_mount(context, &dir)?.success().map(drop)
}

fn it_finds_what_an_old_kernel_lacks(context: &Context) -> Result<()> {
    let dir = context.scratch("doctor")?;
    let found = doctor(context, &dir)?.exited(1)?;
    expect(&found, "verified mounts do not work here: overlayfs:")?;
    expect(&found, "remedy: use Linux 6.6 or newer for verified mounts")?;
    expect(&found, "ok       fs-verity: enabled on a test file")?;
    expect(&found, "ok       mount: image mounted through /dev/loop")?;
    expect_nothing_left(&dir)?;
    verified_mount(context, &dir)?.exited(1).map(drop)
}

fn it_finds_what_a_file_system_lacks(context: &Context) -> Result<()> {
    let dir = context.scratch("doctor")?;
    let file = dir.join("disk");
    fs::File::create(&file)?.set_len(64 << 20)?;
    let fs_dir = dir.join("fs");
    fs::create_dir(&fs_dir)?;
    command::run(Command::new("mke2fs").args(["-q", "-t", "ext4", "-b", "4096"]).arg(&file))?.success()?;
    command::run(Command::new("mount").args(["-o", "loop"]).arg(&file).arg(&fs_dir))?.success()?;
    let seen = (|| {
        let found = doctor(context, &fs_dir)?.exited(1)?;
        expect(&found, "missing  fs-verity: this ext4 was created without the verity feature")?;
        expect(&found, "remedy: tune2fs -O verity /dev/loop")?;
        let place = fs_dir.join("place");
        fs::create_dir(&place)?;
        verified_mount(context, &place)?.exited(1)?;
        expect_nothing_left(&fs_dir)
    })();
    command::run(Command::new("umount").arg(&fs_dir))?.success()?;
    seen
}
