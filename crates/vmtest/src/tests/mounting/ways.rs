//! The kernel interfaces that a mount uses, and the fallbacks on a kernel without the newer ones.

use std::fs;

use anyhow::{Result, bail, ensure};
use rustix::io::Errno;

use super::scene::{Scene, content};
use crate::context::Context;
use crate::kernel::Kernels;
use crate::kernel_log::KernelLog;

crate::tests::tests! {
    "ways",
    Kernels::All => [newest_way_is_taken, image_in_memory_goes_by_loop],
    super::NOT_VERIFYING => [
        old_kernel_refuses_to_verify,
        old_kernel_looks_for_objects_at_once,
        tryverity_mounts_unverified,
    ],
    super::VERIFYING => [tryverity_verifies],
}

/// The words of `--json` for the image and the overlay.
fn expected(context: &Context) -> (&'static str, &'static str) {
    let erofs = if context.kernel >= (6, 12) { "file" } else { "/dev/loop" };
    let overlay = match context.kernel {
        (6, 15..) | (7.., _) => "detached",
        (6, 7..) => "mountpoint",
        (6, 5..) => "mount2",
        _ => "mount2-ordinary-layers",
    };
    (erofs, overlay)
}

fn newest_way_is_taken(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "way")?;
    let (erofs, overlay) = expected(context);
    let mut log = KernelLog::mark()?;
    let json = scene.sh("composefs mount --json rootfs.img mnt -o basedir=objects")?.success()?.stdout;
    for (what, way) in [("erofs", format!("\"erofs\": \"{erofs}")), ("overlay", format!("\"overlay\": \"{overlay}\""))]
    {
        ensure!(json.contains(&way), "{what}: no {way} in {json}");
    }
    // The same from the kernel's own mouth.
    let messages = log.since()?;
    let device =
        messages.iter().find_map(|line| Some(line.strip_prefix("erofs")?.split_once("(device ")?.1.split_once(')')?.0));
    let is_loop = device.is_some_and(|device| device.starts_with("loop"));
    ensure!(device.is_some() && is_loop == erofs.starts_with("/dev/loop"), "{device:?}: {messages:#?}");
    let lowest = scene.overlay_option("mnt", "lowerdir+")?;
    let line = scene.mountinfo("mnt")?;
    match overlay {
        "detached" => ensure!(lowest.as_deref().is_some_and(|dir| !dir.contains(".composefs.")), "{line}"),
        "mountpoint" => ensure!(lowest.as_deref().is_some_and(|dir| dir.starts_with("/run/.composefs.")), "{line}"),
        _ => ensure!(lowest.is_none() && line.contains("lowerdir=/run/.composefs."), "{line}"),
    }
    ensure!(!scene.sh("ls -A /run")?.stdout.contains(".composefs."), "the temporary mount point is still there");
    scene.reads("mnt/twin", content("twin"))?;
    // The names of the objects are not those of the mount.
    let names = scene.sh("ls -A mnt")?.success()?.stdout;
    ensure!(names.split_whitespace().eq(["dir", "file_a", "file_b", "twin"]), "{names}");
    scene.umount("mnt")?;
    // mount(8) takes the same.
    let told = scene.sh("mount -v -t composefs rootfs.img -o basedir=objects mnt")?.success()?.stdout;
    let way = if is_loop { "image mounted through /dev/loop" } else { "image mounted from its file" };
    ensure!(told.contains(way), "{told}");
    scene.finish()
}

/// EROFS of no kernel mounts a file of a tmpfs.
fn image_in_memory_goes_by_loop(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "memory")?;
    scene.sh("mkdir memory; mount -t tmpfs tmpfs memory; cp rootfs.img memory")?.success()?;
    let json = scene.sh("composefs mount --json memory/rootfs.img mnt -o basedir=objects")?.success()?.stdout;
    ensure!(json.contains("\"erofs\": \"/dev/loop"), "{json}");
    scene.reads("mnt/twin", content("twin"))?;
    let backing = scene.path("memory/rootfs.img").display().to_string();
    let devices = || scene.sh("cat /sys/block/loop*/loop/backing_file").map(|ran| ran.stdout);
    ensure!(devices()?.lines().any(|line| line == backing), "{}", devices()?);
    scene.finish()
}

fn old_kernel_refuses_to_verify(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "old")?;
    let release = crate::kernel::release();
    let digest = scene.sh("mkcomposefs --print-digest-only rootfs")?.success()?.stdout;
    let digest = format!("digest={}", digest.trim_end());
    let options = ["verity", "verity_check=1", "verity_check=2", &digest];
    for sealed in [false, true] {
        if sealed {
            scene.sh("fsverity enable rootfs.img")?.success()?;
        }
        for option in options {
            let words = ["rootfs.img", "cannot verify files", &release, "remedy: use Linux 6.6 or newer"];
            scene.mount_refused(&format!("basedir=objects,{option}"), &words)?;
        }
    }
    for option in ["ro", "verity_check=0"] {
        scene.mount(&format!("basedir=objects,{option}"))?;
        for file in ["file_a", "file_b", "twin", "dir/nested"] {
            scene.reads(&format!("mnt/{file}"), content(file))?;
        }
        scene.umount("mnt")?;
    }
    scene.finish()
}

/// Without lazy lookup the object is opened with the name; an object that exists is served, as nothing can be verified.
fn old_kernel_looks_for_objects_at_once(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "old-objects")?;
    fs::remove_file(scene.object(content("file_a")))?;
    fs::remove_file(scene.object(content("file_b")))?;
    fs::write(scene.object(content("file_b")), "bad\n")?;
    scene.mount("basedir=objects")?;
    let mut log = KernelLog::mark()?;
    match fs::metadata(scene.path("mnt/file_a")) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => {}
        other => bail!("a file without its object should give EIO, but: {other:?}"),
    }
    let messages = log.since()?;
    let line = "overlayfs: metacopy with no lower data found - abort lookup (/file_a)";
    ensure!(messages.iter().any(|message| message.contains(line)), "{messages:#?}");
    scene.reads("mnt/file_b", "bad\n")?;
    scene.reads("mnt/twin", content("twin"))?;
    scene.finish()
}

fn tryverity_mounts_unverified(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "try-old")?;
    let json = scene.sh("composefs mount --json rootfs.img mnt -o basedir=objects,tryverity")?.success()?.stdout;
    ensure!(json.contains("\"verity\": \"off\""), "it should say that nothing is verified: {json}");
    scene.reads("mnt/twin", content("twin"))?;
    scene.finish()
}

fn tryverity_verifies(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "try-new")?;
    scene.mount("basedir=objects,tryverity")?;
    ensure!(scene.overlay_option("mnt", "verity")?.as_deref() == Some("require"), "{}", scene.mountinfo("mnt")?);
    let object = scene.object(content("file_a"));
    fs::remove_file(&object)?;
    fs::write(&object, "bad\n")?;
    scene.fails("mnt/file_a", Errno::IO, "has no fs-verity digest")?;
    scene.reads("mnt/twin", content("twin"))?;
    scene.finish()
}
