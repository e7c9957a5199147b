//! Damage that only fs-verity finds: bytes that change on the disk under the file system.

use std::fs;
use std::path::Path;
use std::process::Command;

use libcomposefs_image::{Algorithm, verity};

use crate::scene::{MOUNTED, Scene, init, shell};
use crate::{Case, fs_verity};

pub(crate) const CASES: &[Case] = &[
    Case { name: "init_without_verity", needs: fs_verity, run: init_without_verity },
    Case { name: "blocks_changed_on_the_disk", needs: fs_verity, run: blocks_changed_on_the_disk },
];

fn init_without_verity(scene: &Scene) {
    let object = verity::digest(Algorithm::Sha256, &init());
    scene.replace(&object, &init());
    scene.boot(&scene.word(), &[], MOUNTED).refused(&["/sbin/init of the image cannot be read", "fsck"]);
    fs::remove_file(scene.object(&object)).unwrap();
    scene.boot(&scene.word(), &[], MOUNTED).refused(&["/sbin/init of the image cannot be read"]);
    // Without the demand, the object is enough.
    fs::write(scene.object(&object), init()).unwrap();
    scene.boot(&format!("composefs=?{}", scene.digest.to_hex()), &[], MOUNTED).ok();
    scene.seal_object(&object);
    scene.boot(&scene.word(), &[], MOUNTED).ok();
    // The interpreter of the script is as necessary.
    let object = verity::digest(Algorithm::Sha256, &shell());
    scene.replace(&object, &shell());
    scene.boot(&scene.word(), &[], MOUNTED).refused(&["/bin/sh of the image cannot be read", "fsck"]);
    scene.seal_object(&object);
    scene.boot(&scene.word(), &[], MOUNTED).ok();
}

/// A file system in a file, changed while it is not mounted.
fn blocks_changed_on_the_disk(scene: &Scene) {
    let device = scene.path("device");
    let make = "truncate -s 16M $S/device && mke2fs -q -t ext4 -b 4096 -O verity $S/device && mkdir $S/new && \
                mount -o loop $S/device $S/new && cp -a $D/composefs $S/new && \
                find $S/new/composefs/objects -type f -exec fsverity enable --block-size=4096 {} ';' && umount $S/new";
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-ec", make]).env("S", scene.path("")).env("D", scene.path("disk"));
    assert!(shell.status().unwrap().success());
    let boot = || scene.boot_after("mount -o loop $S/device $D", &scene.word(), &[], MOUNTED);
    boot().ok().prints("MOUNTED");
    let image = fs::read(scene.object(&scene.digest)).unwrap();
    let superblock = image[1024..1024 + 512].to_vec();
    let undo = change(&device, &superblock);
    boot().refused(&["damaged on the disk", "Choose the previous entry"]);
    fs::write(&device, undo).unwrap();
    boot().ok();
    change(&device, &init()[..512]);
    boot().refused(&["/sbin/init of the image cannot be read", "Choose the previous entry"]);
}

/// Changes one byte where the device has these bytes, and returns the device as it was.
fn change(device: &Path, needle: &[u8]) -> Vec<u8> {
    let before = fs::read(device).unwrap();
    let mut after = before.clone();
    let mut at = 0;
    let mut count = 0;
    while let Some(found) = after[at..].chunks(512).position(|chunk| chunk == needle) {
        let place = at + found * 512 + 300;
        after[place] ^= 1;
        at += (found + 1) * 512;
        count += 1;
    }
    assert!(count > 0, "the device does not have the bytes");
    fs::write(device, after).unwrap();
    before
}
