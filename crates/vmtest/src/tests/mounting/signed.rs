//! The option `signed`: images with a signature that the kernel verifies.

use anyhow::{Result, ensure};

use super::scene::{Scene, content};
use crate::context::Context;

crate::tests::tests! { "mounting", super::VERIFYING => [only_signed_images_are_mounted] }

/// What openssl needs to know for a certificate that the kernel takes: it looks keys up by their identifiers.
pub(super) const REQUEST: &str = "[req]\ndistinguished_name=name\nx509_extensions=extensions\nprompt=no\n[name]\n\
                                  CN=test\n[extensions]\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";

fn only_signed_images_are_mounted(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "signed")?;
    std::fs::write(scene.path("request"), REQUEST)?;
    scene.sh("openssl req -x509 -newkey rsa:2048 -nodes -config request -keyout key.pem -out cert.pem")?.success()?;
    scene.sh("openssl x509 -in cert.pem -outform der -out cert.der")?.success()?;
    // One image for each state; the signature of the second is of other bytes.
    scene
        .sh("for name in good wrong sealed late; do cp rootfs.img $name.img; done; echo foreign > foreign")?
        .success()?;
    let sign = "openssl smime -sign -binary -noattr -signer cert.pem -inkey key.pem -outform der";
    for (of, to) in [("rootfs.img", "good.p7s"), ("foreign", "wrong.p7s")] {
        scene
            .sh(&format!("composefs digest --formatted {of} > formatted && {sign} -in formatted -out {to}"))?
            .success()?;
    }
    let formatted = scene.sh("composefs digest --formatted rootfs.img | od -An -v -tx1 | tr -d ' \\n'")?.stdout;
    let theirs = scene.sh("fsverity digest --compact --for-builtin-sig rootfs.img")?.success()?.stdout;
    ensure!(formatted == theirs.trim(), "{formatted:?} is signed, and not {theirs:?}");

    // The kernel knows no key yet.
    let seal = |signature: &str, image: &str| format!("composefs seal --kernel-signature={signature} {image}");
    let no_key = ["key of the signature is not in the kernel's keyring .fs-verity", "keyctl padd"];
    scene.refused(&seal("good.p7s", "good.img"), &no_key)?;
    scene.sh("keyctl padd asymmetric '' %:.fs-verity < cert.der")?.success()?;
    scene.refused(&seal("wrong.p7s", "wrong.img"), &["no signature of this file"])?;
    scene.refused(&seal("cert.der", "wrong.img"), &["cannot seal wrong.img"])?;
    let sealed = scene.sh("composefs seal sealed.img | cut -d' ' -f1")?.success()?.stdout;
    let signed = scene.sh(&format!("{} | cut -d' ' -f1", seal("good.p7s", "good.img")))?.success()?.stdout;
    ensure!(sealed == signed && sealed.len() == 65, "the digest with a signature is {signed}, without it {sealed}");
    // With the same signature again, but not with one that came too late.
    ensure!(scene.sh(&format!("{} --json", seal("good.p7s", "good.img")))?.success()?.stdout.contains("before"));
    scene.refused(&seal("good.p7s", "sealed.img"), &["already sealed, without this signature", "copy the file"])?;

    for (image, kind) in [("late.img", "not-signed"), ("sealed.img", "not-signed")] {
        let line = format!("composefs mount {image} mnt -o basedir=objects,signed");
        scene.refused(&line, &["Image is not signed", "composefs seal --kernel-signature"])?;
        ensure!(scene.sh(&format!("{line} --json"))?.exited(1)?.stdout.contains(kind));
        for way in ["fuse", "overlay"] {
            scene.refused(&format!("{line} --via={way}"), &["Image is not signed"])?;
        }
    }
    scene.refused("composefs mount good.img mnt -o basedir=objects,signed,verity_check=1", &["verifies every file"])?;
    for line in [
        "mount -t composefs good.img -o basedir=objects,signed mnt",
        "composefs mount good.img mnt -o basedir=objects,signed",
        "composefs mount good.img mnt -o basedir=objects,signed --via=fuse",
    ] {
        scene.sh(line)?.success()?;
        ensure!(std::fs::read_to_string(scene.path("mnt/file_a"))? == content("file_a"), "{line}: another content");
        scene.sh("composefs umount mnt")?.success()?;
    }

    // Without the key, the kernel does not open the file, once it reads the inode anew.
    let in_disk = "composefs mount other/good.img mnt -o basedir=objects,signed";
    scene
        .sh("truncate -s 16M disk && mke2fs -q -t ext4 -O verity,extents -b 4096 disk && mount -o loop disk other")?
        .success()?;
    scene.sh(&format!("cp rootfs.img other/good.img && {}", seal("good.p7s", "other/good.img")))?.success()?;
    scene.sh("umount other && mount -o loop disk other")?.success()?;
    scene.sh(&format!("{in_disk} && composefs umount mnt"))?.success()?;
    scene.sh("umount other && keyctl clear %:.fs-verity && mount -o loop disk other")?.success()?;
    scene.refused(in_disk, &["Failed to open other/good.img", "keyring"])?;
    scene.sh("umount other")?.success()?;
    Ok(())
}
