//! What is refused changes nothing, and each refusal has a neighbour that is accepted.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use crate::place::{COMPOSEFS, Place, efi_program, refused, run};

/// Checks that an installation is refused with these words, and that neither partition, state nor refs have changed.
fn not_installed(place: &Place, words: &[&str], says: &[&str]) {
    let before = (place.esp_files(), place.refs(), place.path("disk/state").exists());
    refused(&place.boot(&[&["install"], words].concat()), says);
    assert_eq!((place.esp_files(), place.refs(), place.path("disk/state").exists()), before);
}

#[test]
fn a_kernel_image_for_another_image_is_refused_with_both_digests() {
    let place = Place::new();
    let digest = place.image("1");
    let other = "ab".repeat(32);
    let wrong = place.uki("wrong.efi", &format!("rw composefs=?{other}"));
    let none = place.uki("none.efi", "rw quiet");
    let later = place.uki("later.efi", &format!("composefs={other} composefs=?{digest}"));
    let right = place.uki("right.efi", &format!("composefs.digest=?v1-sha256-12:{digest} composefs={other}"));
    fs::write(place.path("text.efi"), "text").unwrap();
    let text = place.word("text.efi");
    not_installed(&place, &["os/1", "--uki", &wrong], &["wrong.efi", &other, &digest, "remedy: "]);
    not_installed(&place, &["os/1", "--uki", &later], &["later.efi", &other, &digest]);
    not_installed(&place, &["os/1", "--uki", &none], &["none.efi", "names no image", &digest]);
    not_installed(&place, &["os/1", "--uki", &text], &["text.efi", "it is no EFI program"]);
    assert_eq!(place.boot(&["install", "os/1", "--uki", &right, "--option=x"]).status, Some(2));
    let _ = place.boot(&["install", "os/1", "--uki", &right]).ok();
}

#[test]
fn a_kernel_image_in_the_image_cannot_be_the_right_one() {
    let place = Place::new();
    let other = "cd".repeat(32);
    let tree = place.tree("1", b"kernel");
    let path = tree.join("usr/lib/modules/6.1.0/os.efi");
    fs::write(&path, efi_program(&format!("composefs={other}"))).unwrap();
    let digest = place.create(&tree, "1");
    let says = ["/usr/lib/modules/6.1.0/os.efi of the image", &other, &digest, "--uki"];
    not_installed(&place, &["os/1", "--no-verity"], &says);
    // One that boots no image is another program.
    fs::write(&path, efi_program("quiet")).unwrap();
    place.create(&tree, "2");
    place.install("2", &[]);
}

#[test]
fn an_image_without_kernel_or_initramfs_is_refused() {
    let place = Place::new();
    let tree = place.tree("1", b"kernel");
    let modules = tree.join("usr/lib/modules/6.1.0");
    fs::rename(modules.join("initramfs.img"), modules.join("other")).unwrap();
    place.create(&tree, "1");
    not_installed(&place, &["os/1", "--no-verity"], &["6.1.0/initramfs.img", "--initrd"]);
    fs::rename(modules.join("other"), modules.join("initrd")).unwrap();
    place.create(&tree, "2");
    place.install("2", &[]);
    fs::remove_file(modules.join("vmlinuz")).unwrap();
    place.create(&tree, "3");
    not_installed(&place, &["os/3", "--no-verity"], &["no vmlinuz in /usr/lib/modules/VERSION", "--uki"]);
    // An entry that leads nowhere.
    fs::create_dir_all(tree.join("boot/loader/entries")).unwrap();
    fs::write(tree.join("boot/loader/entries/a.conf"), "linux /none\n").unwrap();
    place.create(&tree, "4");
    not_installed(&place, &["os/4", "--no-verity"], &["/boot/none, which the image does not have"]);
}

#[test]
fn objects_must_be_present_and_sealed() {
    let place = Place::new();
    place.image("1");
    // No file has fs-verity here.
    not_installed(&place, &["os/1"], &["has no fs-verity", "objects are not as a boot requires", "--no-verity"]);
    let digest = place.repo(&["digest", &place.word("tree-1/usr/lib/modules/6.1.0/initramfs.img")]).ok();
    let hex = digest.line().split(' ').next().unwrap().to_owned();
    let object = place.path("disk/composefs/objects").join(&hex[..2]).join(&hex[2..]);
    let content = fs::read(&object).unwrap();
    fs::rename(&object, place.path("kept")).unwrap();
    not_installed(&place, &["os/1", "--no-verity"], &[&hex[2..], "No such file", "fsck --repair"]);
    fs::write(&object, &content[1..]).unwrap();
    not_installed(&place, &["os/1", "--no-verity"], &[&hex[2..], "objects are not as a boot requires"]);
    // The right length and another content: found when it is copied.
    fs::write(&object, [&content[1..], b"?"].concat()).unwrap();
    not_installed(&place, &["os/1", "--no-verity"], &["initramfs.img of the image", &hex]);
    fs::write(&object, &content).unwrap();
    place.install("1", &[]);
}

#[test]
fn the_disk_must_be_one_that_a_boot_finds() {
    let place = Place::new();
    place.image("1");
    let esp = format!("--esp={}", place.word("esp"));
    fs::rename(place.path("disk/composefs"), place.path("disk/images")).unwrap();
    let repo = place.word("disk/images");
    let ran = run(&["--repo", &repo, "boot", "install", "os/1", "--no-verity", &esp]);
    refused(&ran, &["composefs-setup-root looks for the repository in DISK/composefs", "--sysroot"]);
    fs::rename(place.path("disk/images"), place.path("disk/composefs")).unwrap();
    let (repo, sysroot) = (place.word("disk/composefs"), format!("--sysroot={}", place.word("disk")));
    let ran = run(&["--repo", &repo, "boot", "install", "os/1", "--no-verity", &esp, &sysroot]);
    refused(&ran, &["leave --repo"]);
    let none = format!("--esp={}", place.word("none"));
    let ran = run(&["--repo", &repo, "boot", "install", "os/1", "--no-verity", &none]);
    refused(&ran, &["cannot open", "No such file or directory"]);
    let _ = run(&["--repo", &repo, "boot", "install", "os/1", "--no-verity", &esp]).ok();
    not_installed(&place, &["os/none", "--no-verity"], &["no image is called os/none"]);
}

#[test]
fn words_for_the_kernel_stay_on_their_line_and_are_not_too_long() {
    let place = Place::new();
    place.image("1");
    not_installed(&place, &["os/1", "--no-verity", "--option=a\nlinux /evil"], &["has a control character"]);
    not_installed(&place, &["os/1", "--no-verity", "--option=a=\"b"], &["a quote that does not end"]);
    let long = format!("--option={}", "x".repeat(2000));
    not_installed(&place, &["os/1", "--no-verity", &long], &["and the kernel takes 2047"]);
    place.install("1", &[&long[..1800]]);
}

#[test]
fn two_commands_do_not_change_entries_at_once() {
    let place = Place::new();
    place.image("1");
    let esp = File::open(place.path("esp")).unwrap();
    flock(&esp, FlockOperation::LockExclusive).unwrap();
    not_installed(&place, &["os/1", "--no-verity"], &["another command changes the entries"]);
    drop(esp);
    place.install("1", &[]);
}

#[test]
fn a_symlink_on_the_partition_is_not_followed() {
    let place = Place::new();
    place.image("1");
    fs::create_dir(place.path("outside")).unwrap();
    symlink(place.path("outside"), place.path("esp/composefs")).unwrap();
    refused(&place.boot(&["install", "os/1", "--no-verity"]), &["composefs"]);
    assert_eq!(fs::read_dir(place.path("outside")).unwrap().count(), 0);
    fs::remove_file(place.path("esp/composefs")).unwrap();
    place.install("1", &[]);
}

#[test]
fn a_failed_write_leaves_neither_kernel_nor_ref() {
    let place = Place::new();
    place.image("1");
    // A directory in the place of the entry's temporary file: the last step fails.
    let dry = place.json(&["install", "os/1", "--no-verity", "--dry-run"]);
    let entry = format!("esp/loader/entries/{}.composefs-new", dry["entry"].as_str().unwrap());
    fs::create_dir_all(place.path(&entry)).unwrap();
    refused(&place.boot(&["install", "os/1", "--no-verity"]), &["cannot remove", ".conf.composefs-new"]);
    assert!(place.esp_files().is_empty() && place.refs().is_empty(), "{:?}", place.esp_files());
    fs::remove_dir(place.path(&entry)).unwrap();
    place.install("1", &[]);
}

#[test]
fn a_policy_is_asked_about_the_name_of_the_image() {
    let place = Place::new();
    place.image("1");
    let policy = place.path("config/composefs/policy.toml");
    fs::create_dir_all(policy.parent().unwrap()).unwrap();
    let (sysroot, esp) = (format!("--sysroot={}", place.word("disk")), format!("--esp={}", place.word("esp")));
    let install = |rule: &str| {
        fs::write(&policy, format!("version = 1\n[[rule]]\nname = \"{rule}\"\naccept = true\n")).unwrap();
        let mut command = Command::new(COMPOSEFS);
        command.env("XDG_CONFIG_HOME", place.path("config")).env("XDG_STATE_HOME", place.path("state"));
        command.args(["boot", "install", "os/1", "--no-verity"]).args([&sysroot, &esp]).output().unwrap()
    };
    let refusal = install("other/*");
    let said = String::from_utf8_lossy(&refusal.stderr).into_owned();
    assert!(!refusal.status.success() && said.contains("policy.toml refuses os/1"), "{said}");
    assert!(place.esp_files().is_empty() && place.refs().is_empty());
    assert!(install("os/*").status.success());
    assert_eq!(place.refs().len(), 1);
}
