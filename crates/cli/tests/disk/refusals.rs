//! What is refused leaves nothing, and names the rule.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{COMPOSEFS, Place};

/// Checks that a disk is refused with these words, and that nothing is left of it.
fn refused(place: &Place, out: &str, words: &[&str], says: &[&str]) {
    let before = place.names();
    let ran = place.disk(out, words);
    assert_eq!((ran.status, ran.stdout.len()), (Some(1), 0), "{words:?}: {}", ran.stderr);
    for part in says {
        assert!(ran.stderr.contains(part), "{words:?}: no {part:?} in {}", ran.stderr);
    }
    assert_eq!(place.names(), before);
}

#[test]
fn an_existing_file_is_kept_unless_that_is_forced() {
    let place = Place::new();
    fs::write(place.path("file"), "mine").unwrap();
    symlink("nowhere", place.path("link")).unwrap();
    refused(&place, "file", &[], &["file exists", "remedy: use another name, or --force to replace it"]);
    assert_eq!(fs::read(place.path("file")).unwrap(), b"mine");
    refused(&place, "link", &[], &["link exists"]);
    refused(&place, "tree", &["--force"], &["something else than a file has that name"]);
    refused(&place, "new", &["--device"], &["is not a block device"]);
    refused(&place, "file", &["--device"], &["is not a block device"]);
    refused(&place, "no/file", &[], &["No such file or directory"]);
    let null = place.run(&["disk", "os/1", "/dev/null", "--force"]);
    assert!(null.status == Some(1) && null.stderr.contains("something else than a file"), "{}", null.stderr);
    let _ = place.disk("file", &["--force"]).ok();
    assert!(fs::metadata(place.path("file")).unwrap().len() > 1 << 30);
}

#[test]
fn a_damaged_or_missing_object_is_named() {
    let place = Place::new();
    let object = place.object_of("usr/many");
    let name = object.file_name().unwrap().to_str().unwrap();
    let file = OpenOptions::new().write(true).open(&object).unwrap();
    file.write_all_at(b"?", 2_000_000).unwrap();
    refused(&place, "disk", &[], &[name, "not that of its name", "fsck --repair"]);
    fs::write(place.path("old"), "mine").unwrap();
    refused(&place, "old", &["--force"], &[name]);
    assert_eq!(fs::read(place.path("old")).unwrap(), b"mine");
    file.set_len(100).unwrap();
    refused(&place, "disk", &[], &[name]);
    fs::rename(&object, place.path("kept")).unwrap();
    refused(&place, "disk", &[], &[name, "No such file or directory"]);
    fs::create_dir(&object).unwrap();
    refused(&place, "disk", &[], &[name, "not a regular file"]);
    fs::remove_dir(&object).unwrap();
    fs::copy(place.path("tree/usr/many"), &object).unwrap();
    let _ = place.disk("disk", &[]).ok();
}

#[test]
fn a_size_must_be_enough() {
    let place = Place::new();
    let small = place.disk("disk", &["--size=530M"]);
    let needed = small.stderr.split_once("needs a disk of ").and_then(|(_, rest)| rest.split_once(" bytes"));
    let needed: u64 = needed.unwrap_or_else(|| panic!("{}", small.stderr)).0.parse().unwrap();
    for less in [0, 1 << 20, needed - (1 << 20)] {
        refused(&place, "disk", &["--size", &less.to_string()], &["needs a disk of", "remedy: use a larger --size"]);
    }
    let report = place.report("disk", &["--size", &needed.to_string()]);
    assert_eq!(report["size"].as_u64(), Some(needed));
    assert_eq!(fs::metadata(place.path("disk")).unwrap().len(), needed);
    refused(&place, "large", &["--size=1E"], &["at most 16 TiB"]);
    assert_eq!(place.disk("large", &["--size=much"]).status, Some(2));
}

#[test]
fn programs_must_fit_to_image_and_processor() {
    let place = Place::new();
    let line = format!("rw composefs={}", place.digest);
    let kernel = place.kernel("os.efi", 0x8664, &line);
    let other = place.kernel("other.efi", 0x8664, &format!("composefs={}", "ab".repeat(32)));
    let arm = place.kernel("arm.efi", 0xaa64, &line);
    fs::write(place.path("text.efi"), "text").unwrap();
    let text = place.path("text.efi");
    refused(&place, "disk", &["--uki", &other], &["other.efi", "its command line has no word composefs="]);
    refused(&place, "disk", &["--uki", &kernel, "--uki", &arm], &["arm.efi", "it is for aarch64, the disk for x86_64"]);
    refused(&place, "disk", &["--uki", &kernel, "--arch=aarch64"], &["it is for x86_64, the disk for aarch64"]);
    refused(&place, "disk", &["--uki", &kernel, "--uki", &kernel], &["two files would be EFI/Linux/os.efi"]);
    refused(&place, "disk", &["--uki", text.to_str().unwrap()], &["text.efi", "it is no EFI program"]);
    refused(&place, "disk", &["--uki=/none.efi"], &["cannot read /none.efi"]);
    assert_eq!(place.disk("disk", &["--arch=mips"]).status, Some(2));
    let _ = place.disk("disk", &["--uki", &kernel]).ok();
}

#[test]
fn an_image_without_etc_is_refused_and_other_lacks_are_told() {
    let place = Place::new();
    let tree = place.path("plain");
    fs::create_dir_all(tree.join("etc")).unwrap();
    let create = |name: &str| place.run(&["create", tree.to_str().unwrap(), "--name", name]).ok();
    let disk = |name: &str| place.run(&["disk", name, place.path(name).to_str().unwrap()]);
    create("one");
    let ran = disk("one");
    assert_eq!(ran.status, Some(1));
    assert!(ran.stderr.contains("the image has no directory /var") && ran.stderr.contains("check --bootable"));
    fs::create_dir_all(tree.join("var")).unwrap();
    create("two");
    let told = disk("two").ok().stderr;
    assert!(told.contains("the image will not boot as it is: there is no directory /usr"), "{told}");
    // A digest is no name.
    let digest = place.run(&["disk", &place.digest, place.path("three").to_str().unwrap()]).ok();
    assert!(digest.stderr.contains("the image has no name on the disk"), "{}", digest.stderr);
    assert_eq!(place.disk("four", &[]).ok().stderr, "");
}

/// Returns true once the program catches SIGINT, by the bit in `SigCgt` of its status in /proc.
fn catches_sigint(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (2 - 1)) != 0
}

#[test]
fn a_signal_leaves_nothing() {
    let place = Place::new();
    let tree = place.path("tree");
    // Long enough to be interrupted, and of no size on the disk.
    File::create(tree.join("usr/holes")).unwrap().set_len(8 << 30).unwrap();
    let _ = place.run(&["create", tree.to_str().unwrap(), "--bootable", "--name=os/2"]).ok();
    fs::write(place.path("old"), "mine").unwrap();
    let before = place.names();
    for (out, force) in [("disk", None), ("old", Some("--force"))] {
        let mut command = Command::new(COMPOSEFS);
        command.arg("--repo").arg(place.path("repo")).args(["disk", "os/2"]).arg(place.path(out)).args(force);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while !catches_sigint(&child) {
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.status.signal()), (Some(128 + 2), None), "{said}");
        assert!(said.contains("interrupted"), "{said}");
        assert_eq!(place.names(), before);
    }
    assert_eq!(fs::read(place.path("old")).unwrap(), b"mine");
}
