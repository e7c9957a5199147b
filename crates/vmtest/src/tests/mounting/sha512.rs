//! Images whose objects are named by SHA-512, which the C tools cannot make: the kernel is the judge.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use libcomposefs_image::{Algorithm, verity};
use rustix::io::Errno;

use super::scene::{Scene, content, object_name};
use crate::context::Context;

crate::tests::tests! {
    "sha512",
    super::VERIFYING => [objects_are_verified, digest_of_128_digits],
    super::NOT_VERIFYING => [unverified_it_mounts_anywhere],
}

const FILES: [&str; 5] = ["twin", "other-content", "other-algorithm", "unsealed", "missing"];

fn stored(context: &Context) -> Result<Scene> {
    let scene = Scene::empty(context, "sha512")?;
    for file in FILES {
        fs::write(scene.path("rootfs").join(file), content(file))?;
    }
    scene.sh("mkcomposefs --algorithm=sha512 --digest-store=objects rootfs rootfs.img")?.success()?;
    for file in FILES {
        let object = object(file);
        let (_, name) = object.split_at("objects/xx/".len());
        ensure!(name.len() == 126 && scene.path(&object).is_file(), "no object {object}");
        let measured = context.measure(&scene.path(&object))?;
        ensure!(measured == verity::digest(Algorithm::Sha512, content(file).as_bytes()), "the kernel has {measured:?}");
    }
    Ok(scene)
}

fn object(file: &str) -> String {
    object_name(Algorithm::Sha512, content(file))
}

fn objects_are_verified(context: &Context) -> Result<()> {
    let scene = stored(context)?;
    let replace = |file: &str, content: String, seal: &str| -> Result<()> {
        let path = object(file);
        fs::remove_file(scene.path(&path))?;
        fs::write(scene.path(&path), content)?;
        if !seal.is_empty() {
            scene.sh(&format!("fsverity enable --hash-alg={seal} {path}"))?.success()?;
        }
        Ok(())
    };
    replace("other-content", content("other"), "sha512")?;
    replace("other-algorithm", content("other-algorithm"), "sha256")?;
    replace("unsealed", content("unsealed"), "")?;
    fs::remove_file(scene.path(object("missing")))?;

    scene.mount("basedir=objects,verity_check=2")?;
    for (file, words) in [
        ("other-content", "the wrong fs-verity digest"),
        ("other-algorithm", "the wrong fs-verity digest"),
        ("unsealed", "no fs-verity digest"),
    ] {
        let object = object(file);
        let name = object.rsplit('/').next().context("no name")?;
        scene.fails(&format!("mnt/{file}"), Errno::IO, &format!("overlayfs: lower file '{name}' has {words}"))?;
    }
    scene.fails("mnt/missing", Errno::NOENT, "overlayfs: lazy lowerdata lookup failed (/missing, err=-2)")?;
    scene.reads("mnt/twin", content("twin"))?;
    // A mount without a demand reads the same objects.
    scene.mount_at("basedir=objects", "other")?;
    scene.reads("other/other-content", content("other"))?;
    scene.finish()
}

fn digest_of_128_digits(context: &Context) -> Result<()> {
    let scene = stored(context)?;
    let print = "mkcomposefs --algorithm=sha512 --digest-store=objects --print-digest rootfs rootfs.img";
    let printed = scene.sh(print)?.success()?.stdout.trim_end().to_owned();
    scene.sh("fsverity enable --hash-alg=sha512 rootfs.img")?.success()?;
    let measured = context.measure(&scene.path("rootfs.img"))?;
    ensure!(measured.algorithm() == Algorithm::Sha512 && measured.to_hex() == printed, "{measured:?}, not {printed}");

    scene.mount(&format!("basedir=objects,digest={printed}"))?;
    for file in FILES {
        scene.reads(&format!("mnt/{file}"), content(file))?;
    }
    scene.umount("mnt")?;
    let last = if printed.ends_with('0') { '1' } else { '0' };
    let wrong = format!("{}{last}", &printed[..127]);
    scene.mount_refused(
        &format!("basedir=objects,digest={wrong}"),
        &["Image has wrong fs-verity", "rootfs.img", &wrong, &printed],
    )?;
    // The same image by its other digest, which the kernel does not have for this file.
    let other = verity::digest(Algorithm::Sha256, &fs::read(scene.path("rootfs.img"))?).to_hex();
    scene
        .mount_refused(&format!("basedir=objects,digest={other}"), &["Image has wrong fs-verity", &other, &printed])?;
    scene.sh("cp rootfs.img copy; mv copy rootfs.img; fsverity enable rootfs.img")?.success()?;
    scene.mount(&format!("basedir=objects,digest={other}"))?;
    scene.reads("mnt/twin", content("twin"))?;
    scene.finish()
}

fn unverified_it_mounts_anywhere(context: &Context) -> Result<()> {
    let scene = stored(context)?;
    scene.mount("basedir=objects")?;
    for file in FILES {
        scene.reads(&format!("mnt/{file}"), content(file))?;
    }
    scene.finish()
}
