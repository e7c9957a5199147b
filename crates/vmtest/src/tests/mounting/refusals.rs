//! Mounts that fail: the message names the image and the reason, and no mount or device is left, at whatever step it
//! failed.

use std::fs;

use anyhow::{Result, ensure};

use super::scene::{Scene, content};
use crate::context::Context;
use crate::kernel::Kernels;

crate::tests::tests! {
    "refusals",
    Kernels::All => [what_is_not_there, what_is_no_image, what_overlayfs_refuses],
}

/// The good image is mounted where the bad ones were not.
fn twin(scene: &Scene) -> Result<()> {
    scene.mount("basedir=objects")?;
    scene.reads("mnt/twin", content("twin"))
}

fn what_is_not_there(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "absent")?;
    let mount = "mount -t composefs";
    let missing = "No such file or directory";
    scene
        .refused(&format!("{mount} absent.img -o basedir=objects mnt"), &["Failed to open ", "absent.img", missing])?;
    scene.refused(&format!("{mount} rootfs.img/x -o basedir=objects mnt"), &["rootfs.img/x: Not a directory"])?;
    scene.mount_refused("basedir=absent", &["rootfs.img", "basedir absent", missing, "remedy: "])?;
    scene.mount_refused("basedir=objects:absent", &["rootfs.img", "basedir absent", missing])?;
    scene.mount_refused("basedir=rootfs.img", &["rootfs.img", "Not a directory"])?;
    scene.mount_refused("ro", &["No object dirs specified"])?;
    scene
        .mount_refused("basedir=objects,upperdir=absent,workdir=other", &["rootfs.img", "upperdir absent", missing])?;
    scene.mount_refused("basedir=objects,upperdir=other,workdir=absent", &["rootfs.img", "workdir absent", missing])?;
    scene.refused(
        "mount.composefs rootfs.img -o basedir=objects absent",
        &["rootfs.img", "mount point absent", missing],
    )?;
    twin(&scene)?;
    scene.finish()
}

fn what_is_no_image(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "no-image")?;
    let good = fs::read(scene.path("rootfs.img"))?;
    let bad = |name: &str, change: &dyn Fn(&mut Vec<u8>), words: &[&str]| -> Result<()> {
        let mut image = good.clone();
        change(&mut image);
        fs::write(scene.path(name), image)?;
        let named = format!("Failed to mount composefs {}", scene.path(name).display());
        let words = [&[&*named], words].concat();
        scene.refused(&format!("mount -t composefs {name} -o basedir=objects mnt"), &words)
    };
    bad("empty.img", &|image| image.clear(), &["Invalid argument"])?;
    bad("text.img", &|image| *image = b"no image\n".repeat(1000), &["Invalid argument"])?;
    bad("magic.img", &|image| image[0] ^= 1, &["Invalid argument"])?;
    bad("truncated.img", &|image| image.truncate(20), &["Invalid argument"])?;
    // A right header, but no EROFS after it: refused before the kernel is asked.
    let words =
        ["Invalid argument", "offset 1024: the EROFS magic number is", "remedy: build or fetch the image again"];
    bad("superblock.img", &|image| image[1024] ^= 1, &words)?;
    bad("header.img", &|image| image.truncate(1024), &["the file ends after 1024 bytes"])?;
    twin(&scene)?;
    scene.finish()
}

/// The image is mounted already when these fail.
fn what_overlayfs_refuses(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "no-overlay")?;
    scene.sh("mkdir upper work memory; mount -t tmpfs tmpfs memory")?.success()?;
    let before = scene.sh("ls /sys/block | wc -l")?.success()?.stdout;
    scene.mount_refused(
        "basedir=objects,upperdir=upper,workdir=memory",
        &["rootfs.img", "Invalid argument", "workdir"],
    )?;
    scene.mount_refused("basedir=objects,upperdir=upper,workdir=upper", &["rootfs.img", "Invalid argument"])?;
    ensure!(scene.sh("ls /sys/block | wc -l")?.success()?.stdout == before);
    // Another mount has the directories.
    scene.mount_at("basedir=objects,upperdir=upper,workdir=work", "other")?;
    twin(&scene)?;
    scene.umount("memory")?;
    scene.finish()
}
