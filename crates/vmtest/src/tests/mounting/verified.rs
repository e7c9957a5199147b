//! The kernel's answer to each way in which an object or an image can be wrong.

use std::fs::{self, File};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::io::Errno;

use super::scene::{Scene, content, object_name};
use crate::context::Context;
use crate::kernel_log::KernelLog;

crate::tests::tests! {
    "verified",
    super::VERIFYING => [
        intact_objects_read,
        same_content_without_verity_is_refused,
        other_content_with_verity_is_refused,
        missing_object_is_missed_at_open,
        without_verification_whatever_is_there_is_served,
        first_basedir_with_the_object_is_asked,
        objects_without_fs_verity_are_refused,
        digest_wants_fs_verity_on_the_image,
        digest_must_be_that_of_the_image,
        replaced_image_is_refused_by_its_digest,
        check_levels,
    ],
    crate::kernel::Kernels::All => [objects_are_sealed],
}

fn name(content: &str) -> String {
    let object = object_name(libcomposefs_image::Algorithm::Sha256, content);
    object.rsplit('/').next().unwrap_or_default().to_owned()
}

fn unsealed(content: &str) -> String {
    format!("overlayfs: lower file '{}' has no fs-verity digest", name(content))
}

fn wrong(content: &str) -> String {
    format!("overlayfs: lower file '{}' has the wrong fs-verity digest", name(content))
}

/// Puts another file in the place of the object of some content.
fn replace(scene: &Scene, old: &str, new: &str) -> Result<()> {
    let object = scene.object(old);
    fs::remove_file(&object).with_context(|| format!("no object {}", object.display()))?;
    fs::write(&object, new)?;
    Ok(())
}

/// The same, with fs-verity on the new file.
fn replace_sealed(scene: &Scene, old: &str, new: &str) -> Result<()> {
    replace(scene, old, new)?;
    scene.sh(&format!("fsverity enable {}", scene.object(old).display()))?.success()?;
    Ok(())
}

fn intact_objects_read(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "intact")?;
    let mut log = KernelLog::mark()?;
    scene.mount("basedir=objects,verity")?;
    let messages = log.since()?;
    ensure!(messages.iter().any(|line| line.contains("mounted with root inode @ nid")), "{messages:#?}");
    for file in ["file_a", "file_b", "twin", "dir/nested"] {
        scene.reads(&format!("mnt/{file}"), content(file))?;
    }
    let line = scene.mountinfo("mnt")?;
    ensure!(line.contains(" - overlay composefs "), "{line}");
    for (option, value) in [("verity", "require"), ("metacopy", "on"), ("redirect_dir", "on")] {
        ensure!(scene.overlay_option("mnt", option)?.as_deref() == Some(value), "{option}={value} is not in {line}");
    }
    let messages = log.since()?;
    ensure!(!messages.iter().any(|line| line.contains("overlayfs")), "it complained: {messages:#?}");
    scene.finish()
}

fn same_content_without_verity_is_refused(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "unsealed")?;
    replace(&scene, &content("file_a"), &content("file_a"))?;
    scene.mount("basedir=objects,verity")?;
    scene.fails("mnt/file_a", Errno::IO, &unsealed(&content("file_a")))?;
    scene.reads("mnt/twin", content("twin"))?;
    scene.finish()
}

fn other_content_with_verity_is_refused(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "wrong")?;
    let other = content("file_a").replace('a', "x");
    replace_sealed(&scene, &content("file_a"), &other)?;
    // Putting it back as it was, sealed again, is no tampering.
    replace_sealed(&scene, &content("file_b"), &content("file_b"))?;
    scene.mount("basedir=objects,verity")?;
    scene.fails("mnt/file_a", Errno::IO, &wrong(&content("file_a")))?;
    scene.reads("mnt/file_b", content("file_b"))?;
    scene.reads("mnt/twin", content("twin"))?;
    scene.finish()
}

fn missing_object_is_missed_at_open(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "missing")?;
    fs::remove_file(scene.object(content("dir/nested")))?;
    // With a slash before it or not, as the kernel has it.
    let line = "dir/nested, err=-2)";
    for options in ["basedir=objects,verity", "basedir=objects"] {
        scene.mount(options)?;
        scene.fails("mnt/dir/nested", Errno::NOENT, line)?;
        scene.reads("mnt/twin", content("twin"))?;
        scene.umount("mnt")?;
    }
    scene.finish()
}

fn without_verification_whatever_is_there_is_served(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "trusting")?;
    replace(&scene, &content("file_a"), "bad\n")?;
    let mut log = KernelLog::mark()?;
    scene.mount("basedir=objects")?;
    scene.reads("mnt/file_a", "bad\n")?;
    let messages = log.since()?;
    ensure!(!messages.iter().any(|line| line.contains("overlayfs")), "it complained: {messages:#?}");
    // The same objects at the same time, verified.
    scene.mount_at("basedir=objects,verity", "other")?;
    scene.fails("other/file_a", Errno::IO, &unsealed(&content("file_a")))?;
    scene.reads("other/twin", content("twin"))?;
    scene.reads("mnt/file_a", "bad\n")?;
    scene.finish()
}

fn first_basedir_with_the_object_is_asked(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "order")?;
    let bad = scene.path("bad").join(scene.object(content("file_a")).strip_prefix(scene.path("objects"))?);
    fs::create_dir_all(bad.parent().context("no parent")?)?;
    fs::write(bad, "bad\n")?;
    scene.mount("basedir=objects:bad,verity")?;
    scene.mount_at("basedir=bad:objects,verity", "other")?;
    scene.reads("mnt/file_a", content("file_a"))?;
    scene.fails("other/file_a", Errno::IO, &unsealed(&content("file_a")))?;
    scene.reads("other/twin", content("twin"))?;
    scene.finish()
}

/// A tmpfs has no fs-verity, and EROFS no way to mount a file of it.
fn objects_without_fs_verity_are_refused(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "tmpfs")?;
    let object = scene.object(content("file_a"));
    let there = object.strip_prefix(scene.path("objects"))?.display().to_string();
    scene.sh("mkdir memory; mount -t tmpfs tmpfs memory; cp rootfs.img memory")?.success()?;
    scene
        .sh(&format!("mkdir -p memory/objects/$(dirname {there}); mv objects/{there} memory/objects/{there}"))?
        .success()?;
    let mut log = KernelLog::mark()?;
    let mount = "mount -t composefs memory/rootfs.img -o basedir=memory/objects:objects";
    scene.sh(&format!("{mount},verity mnt"))?.success()?;
    let messages = log.since()?;
    ensure!(messages.iter().any(|line| line.contains("loop") && line.contains("capacity change")), "{messages:#?}");
    let backing = scene.path("memory/rootfs.img").display().to_string();
    ensure!(scene.sh("cat /sys/block/loop*/loop/backing_file")?.stdout.lines().any(|line| line == backing));
    scene.fails("mnt/file_a", Errno::IO, &unsealed(&content("file_a")))?;
    scene.reads("mnt/twin", content("twin"))?;
    scene.sh(&format!("{mount} other"))?.success()?;
    scene.reads("other/file_a", content("file_a"))?;
    scene.finish()
}

fn digest_wants_fs_verity_on_the_image(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "unsealed-image")?;
    let digest = scene.sh("fsverity digest --compact rootfs.img")?.success()?.stdout.trim_end().to_owned();
    let words = ["Image has no fs-verity", "rootfs.img", &digest, "remedy: ", "fsverity enable"];
    scene.mount_refused(&format!("basedir=objects,digest={digest}"), &words)?;
    scene.sh("fsverity enable rootfs.img")?.success()?;
    scene.mount(&format!("basedir=objects,digest={digest}"))?;
    scene.reads("mnt/file_a", content("file_a"))?;
    scene.finish()
}

fn digest_must_be_that_of_the_image(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "wrong-image")?;
    scene.sh("fsverity enable rootfs.img")?.success()?;
    let digest = context.measure(&scene.path("rootfs.img"))?.to_hex();
    let flipped = |at: usize| {
        let other = if &digest[at..=at] == "0" { "1" } else { "0" };
        format!("{}{other}{}", &digest[..at], &digest[at + 1..])
    };
    for wrong in [flipped(0), flipped(31), flipped(63), "ab".repeat(64)] {
        let words =
            ["Failed to mount composefs ", "Image has wrong fs-verity", "rootfs.img", &wrong, &digest, "remedy: "];
        scene.mount_refused(&format!("basedir=objects,digest={wrong}"), &words)?;
    }
    // The C tool compares these with zeros added, or does not compare them at all.
    for malformed in [&digest[..62], "", "xyz"] {
        scene.mount_refused(&format!("basedir=objects,digest={malformed}"), &["mount.composefs: "])?;
    }
    for check in [0, 1] {
        let words = ["mount.composefs: ", "verity_check"];
        scene.mount_refused(&format!("basedir=objects,digest={digest},verity_check={check}"), &words)?;
    }
    scene.mount(&format!("basedir=objects,digest={digest},verity_check=2"))?;
    scene.reads("mnt/twin", content("twin"))?;
    scene.umount("mnt")?;
    scene.mount(&format!("basedir=objects,digest={}", digest.to_uppercase()))?;
    scene.finish()
}

/// The digest protects all names, modes and contents: another image under the name of the first is refused.
fn replaced_image_is_refused_by_its_digest(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "replaced-image")?;
    scene.sh("fsverity enable rootfs.img")?.success()?;
    let digest = context.measure(&scene.path("rootfs.img"))?.to_hex();
    let options = format!("basedir=objects,digest={digest}");
    for change in ["mv rootfs/twin rootfs/TWIN", "chmod 700 rootfs/dir", "touch -d 2001-01-01 rootfs/dir"] {
        scene.sh(&format!("{change}; mkcomposefs rootfs rootfs.img; fsverity enable rootfs.img"))?.success()?;
        scene.mount_refused(&options, &["Image has wrong fs-verity"])?;
        scene.sh("mkcomposefs rootfs rootfs.img")?.success()?;
        scene.mount_refused(&options, &["Image has no fs-verity"])?;
    }
    // Nothing is refused but for the digest.
    scene.mount("basedir=objects,verity")?;
    scene.reads("mnt/TWIN", content("twin"))?;
    scene.finish()
}

fn objects_are_sealed(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "sealed")?;
    for file in ["file_a", "file_b", "twin", "dir/nested"] {
        let object = scene.object(content(file));
        match File::options().write(true).open(&object) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => {}
            opened => bail!("opening {} to write should give EPERM, but: {opened:?}", object.display()),
        }
        let measured = context.measure(&object)?;
        ensure!(measured == libcomposefs_image::verity::digest(measured.algorithm(), content(file).as_bytes()));
    }
    scene.finish()
}

/// Files with a digest in the image and one without, at each level of `verity_check`.
fn check_levels(context: &Context) -> Result<()> {
    let scene = Scene::empty(context, "levels")?;
    for file in ["right", "wrong", "unnamed"] {
        fs::write(scene.path("rootfs").join(file), content(file))?;
    }
    scene.sh("mkcomposefs --digest-store=objects rootfs rootfs.img")?.success()?;
    let mut dump = String::from("/ 4096 40755 2 0 0 0 1.0 - - -\n");
    for file in ["right", "wrong", "unnamed"] {
        let object = object_name(libcomposefs_image::Algorithm::Sha256, content(file));
        let payload = object.strip_prefix("objects/").unwrap_or_default();
        let digest = if file == "unnamed" { "-".to_owned() } else { payload.replace('/', "") };
        let size = content(file).len();
        dump.push_str(&format!("/{file} {size} 100644 1 0 0 0 1.0 {payload} - {digest}\n"));
    }
    fs::write(scene.path("dump"), dump)?;
    scene.sh("mkcomposefs --from-file dump rootfs.img")?.success()?;
    let bad = content("wrong").replace('w', "W");
    replace(&scene, &content("wrong"), &bad)?;

    let unnamed = "overlayfs: metacopy file 'unnamed' has no digest specified";
    let unsealed = unsealed(&content("wrong"));
    for (options, verity) in [
        ("verity_check=0", None),
        ("verity_check=1", Some("on")),
        ("verity_check=2", Some("require")),
        ("verity", Some("require")),
    ] {
        scene.mount(&format!("basedir=objects,{options}"))?;
        ensure!(scene.overlay_option("mnt", "verity")?.as_deref() == verity, "{}", scene.mountinfo("mnt")?);
        scene.reads("mnt/right", content("right"))?;
        match verity {
            None => scene.reads("mnt/wrong", &bad)?,
            Some(_) => scene.fails("mnt/wrong", Errno::IO, &unsealed)?,
        }
        match verity {
            Some("require") => scene.fails("mnt/unnamed", Errno::IO, unnamed)?,
            _ => scene.reads("mnt/unnamed", content("unnamed"))?,
        }
        scene.umount("mnt")?;
    }
    for (options, words) in [("verity_check=3", "verity_check"), ("verity,verity_check=1", "verity_check")] {
        scene.mount_refused(&format!("basedir=objects,{options}"), &[words])?;
    }
    scene.finish()
}
