//! The transcript by which the inventors of composefs showed it, line by line.
//!
//! Today's format keeps files as small as those in the image, hence `--inline-max=0`. And overlayfs continues with the
//! object that an inode was opened with: a file read before the tampering serves its verified, now unlinked content
//! until its inode is forgotten.

use anyhow::{Result, ensure};
use rustix::io::Errno;

use super::scene::Scene;
use crate::context::Context;
use crate::disk;

const OBJECT_A: &str = "objects/cc/3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f";
const OBJECT_B: &str = "objects/02/927862b4ab9fb69919187bb78d394e235ce444eeb0a890d37e955827fe4bf4";
const UNSEALED: &str =
    "overlayfs: lower file '3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f' has no fs-verity digest";
const MOUNT: &str = "mount -t composefs rootfs.img -o basedir=objects,verity_check=2";

crate::tests::tests! {
    "transcript",
    super::VERIFYING => [as_the_inventors_showed_it, a_digest_given_at_mount_vouches_for_the_image],
}

fn scene(context: &Context) -> Result<Scene> {
    let scene = Scene::empty(context, "transcript")?;
    scene.sh("echo content_a > rootfs/file_a; echo content_b > rootfs/file_b")?.success()?;
    scene.sh("mkcomposefs --inline-max=0 --digest-store=objects rootfs/ rootfs.img")?.success()?;
    Ok(scene)
}

fn as_the_inventors_showed_it(context: &Context) -> Result<()> {
    let scene = scene(context)?;
    for object in [OBJECT_A, OBJECT_B] {
        ensure!(scene.path(object).is_file(), "the store has no {object}");
    }
    ensure!(scene.sh("find objects -type f | wc -l")?.success()?.stdout.trim() == "2");
    scene.sh(&format!("{MOUNT} mnt"))?.success()?;
    scene.sh(&format!("{MOUNT} other"))?.success()?;
    ensure!(scene.sh("cat mnt/file_a")?.success()?.stdout == "content_a\n");

    scene.sh(&format!("rm {OBJECT_A}; echo modified > {OBJECT_A}"))?.success()?;

    // Not opened before: refused, and its neighbour is not.
    scene.fails("other/file_a", Errno::IO, UNSEALED)?;
    scene.sh("cat other/file_a")?.exited(1)?.says("Input/output error")?;
    scene.reads("other/file_b", "content_b\n")?;
    // Opened before: what was verified then.
    scene.reads("mnt/file_a", "content_a\n")?;
    scene.reads("mnt/file_b", "content_b\n")?;
    // Its inode forgotten.
    disk::drop_caches()?;
    scene.fails("mnt/file_a", Errno::IO, UNSEALED)?;
    scene.reads("mnt/file_b", "content_b\n")?;
    // Mounted anew.
    scene.umount("mnt")?;
    scene.sh(&format!("{MOUNT} mnt"))?.success()?;
    scene.fails("mnt/file_a", Errno::IO, UNSEALED)?;
    scene.reads("mnt/file_b", "content_b\n")?;
    scene.finish()
}

fn a_digest_given_at_mount_vouches_for_the_image(context: &Context) -> Result<()> {
    let scene = scene(context)?;
    let printed = scene.sh("mkcomposefs --inline-max=0 --digest-store=objects --print-digest rootfs/ rootfs.img")?;
    let printed = printed.success()?.stdout;
    let digest = scene.sh("fsverity enable rootfs.img; fsverity digest rootfs.img")?.success()?.stdout;
    let digest = digest.strip_prefix("sha256:").and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    ensure!(printed.trim_end() == digest, "mkcomposefs printed {printed:?}, fsverity {digest:?}");
    let measured = context.measure(&scene.path("rootfs.img"))?.to_hex();
    ensure!(measured == digest, "the kernel measures {measured}, not {digest}");

    scene.mount(&format!("basedir=objects,digest={digest}"))?;
    scene.reads("mnt/file_a", "content_a\n")?;
    scene.umount("mnt")?;
    let wrong = format!("{}{}", if digest.starts_with('0') { '1' } else { '0' }, &digest[1..]);
    let words = ["Failed to mount composefs ", "rootfs.img: Image has wrong fs-verity", &wrong, digest];
    scene.mount_refused(&format!("basedir=objects,digest={wrong}"), &words)?;
    ensure!(!scene.path("mnt/file_a").exists());
    scene.mount(&format!("basedir=objects,digest={digest}"))?;

    // The digest implies the check of every file.
    ensure!(scene.overlay_option("mnt", "verity")?.as_deref() == Some("require"));
    scene.sh(&format!("rm {OBJECT_A}; echo modified > {OBJECT_A}"))?.success()?;
    scene.fails("mnt/file_a", Errno::IO, UNSEALED)?;
    scene.reads("mnt/file_b", "content_b\n")?;
    scene.finish()
}
