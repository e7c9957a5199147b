//! The disk is what other programs take for one, and always the same.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::process::Command;

use serde_json::Value;

use crate::place::{Place, judge};

/// Returns the number of a field of a partition.
fn number(report: &Value, partition: usize, field: &str) -> u64 {
    report["partitions"][partition][field].as_u64().unwrap()
}

/// Returns the name by which the programs of e2fsprogs open the root file system.
fn root(place: &Place, disk: &str, report: &Value) -> String {
    format!("{}?offset={}", place.path(disk).display(), number(report, 1, "start"))
}

fn debugfs(root: &str, command: &str) -> String {
    judge("debugfs", &["-R", command, root])
}

#[test]
fn other_programs_find_no_fault() {
    for algorithm in ["sha256", "sha512"] {
        let place = Place::with_algorithm(algorithm);
        let report = place.report("disk", &[]);
        assert_eq!(report["digest"], *place.digest);
        let disk = place.path("disk");
        let table = judge("sfdisk", &["--verify", disk.to_str().unwrap()]);
        assert!(table.contains("No errors detected."), "{table}");
        let table: Value = serde_json::from_str(&judge("sfdisk", &["--json", disk.to_str().unwrap()])).unwrap();
        for (index, found) in table["partitiontable"]["partitions"].as_array().unwrap().iter().enumerate() {
            assert_eq!(found["start"].as_u64().unwrap() * 512, number(&report, index, "start"));
            assert_eq!(found["size"].as_u64().unwrap() * 512, number(&report, index, "size"));
            for (theirs, ours) in [("uuid", "partuuid"), ("type", "type"), ("name", "name")] {
                let found = found[theirs].as_str().unwrap().to_lowercase();
                assert_eq!(found, report["partitions"][index][ours].as_str().unwrap());
            }
        }
        let root = root(&place, "disk", &report);
        judge("e2fsck", &["-f", "-n", &root]);
        let features = judge("dumpe2fs", &["-h", &root]);
        assert!(features.contains(" verity"), "{features}");
        assert!(features.contains(report["partitions"][1]["uuid"].as_str().unwrap()), "{features}");
        // The file system ends where its partition ends, but for less than a group.
        let blocks = features.lines().find_map(|line| line.strip_prefix("Block count:")).unwrap();
        let unused = number(&report, 1, "size") - blocks.trim().parse::<u64>().unwrap() * 4096;
        assert!(unused < 128 << 20, "{unused}");
        // Objects, the image and the settings have fs-verity; the state has not.
        for (path, has_verity) in [
            ("/composefs/meta.json".to_owned(), true),
            (format!("/composefs/objects/{}/{}", &place.digest[..2], &place.digest[2..]), true),
            ("/state/os/default/var/lib/data".to_owned(), false),
        ] {
            let stat = debugfs(&root, &format!("stat {path}"));
            assert!(stat.contains(if has_verity { "Flags: 0x180000" } else { "Flags: 0x80000" }), "{path}: {stat}");
        }
        assert!(fs::metadata(&disk).unwrap().blocks() * 512 < 16 << 20, "the disk is not sparse");
    }
}

/// A disk that is booted by name needs them.
#[test]
fn the_signatures_of_the_image_are_on_the_disk() {
    let place = Place::new();
    for (name, text) in [("statement", "a statement\n"), ("signature", "-----BEGIN SSH SIGNATURE-----\nx\n")] {
        fs::write(place.path(name), text).unwrap();
    }
    let directory = place.path("repo/signatures").join(&place.digest);
    fs::create_dir_all(&directory).unwrap();
    for ending in ["statement", "ssh"] {
        fs::copy(place.path(if ending == "ssh" { "signature" } else { ending }), directory.join(format!("0.{ending}")))
            .unwrap();
    }
    let report = place.report("disk", &[]);
    let root = root(&place, "disk", &report);
    judge("e2fsck", &["-f", "-n", &root]);
    let names = debugfs(&root, &format!("ls -p /composefs/signatures/{}", place.digest));
    let signature = names.split('/').find(|name| name.ends_with(".ssh")).unwrap();
    for (ending, file) in [("ssh", "signature"), ("statement", "statement")] {
        let path = format!("/composefs/signatures/{}/{}", place.digest, signature.replace("ssh", ending));
        assert_eq!(debugfs(&root, &format!("cat {path}")), fs::read_to_string(place.path(file)).unwrap());
    }
}

#[test]
fn the_state_is_that_of_the_image() {
    let place = Place::new();
    let report = place.report("disk", &[]);
    let root = root(&place, "disk", &report);
    let out = place.path("var");
    fs::create_dir(&out).unwrap();
    debugfs(&root, &format!("rdump /state/os/default/var {}", out.display()));
    let tree = place.path("tree/var");
    judge("diff", &["-r", "--no-dereference", tree.to_str().unwrap(), out.join("var").to_str().unwrap()]);
    let link = debugfs(&root, "stat /state/os/default/var/log/link");
    assert!(link.contains("Links: 2"), "{link}");
    let log = debugfs(&root, "stat /state/os/default/var/log");
    assert!(log.contains("Mode:  02755"), "{log}");
    let state = format!("/state/deploy/{}", place.digest);
    assert!(debugfs(&root, &format!("stat {state}/var")).contains("Fast link dest: \"../../os/default/var\""));
    for (path, mode) in [("etc/upper", "0755"), ("etc/work", "0700")] {
        assert!(debugfs(&root, &format!("stat {state}/{path}")).contains(mode), "{path}");
    }
    let link = debugfs(&root, "stat /composefs/images/refs/os/1");
    assert!(link.contains("Type: symlink"), "{link}");
    assert!(debugfs(&root, "cat /composefs/images/refs/os/1").contains(&place.digest));
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let place = Place::new();
    let kernel = place.kernel("os+3.efi", 0x8664, &format!("rw composefs={}", place.digest));
    // Small disks, as all bytes are read.
    let make = |name: &str, words: &[&str]| place.report(name, &[&["--uki", &kernel, "--size=640M"], words].concat());
    let [one, two, three] = ["one", "two", "three"].map(|name| place.path(name).to_str().unwrap().to_owned());
    make("one", &[]);
    make("two", &["--seed", &place.digest]);
    judge("cmp", &[&one, &two]);
    let first = make("three", &["--seed=a"]);
    let second = make("three", &["--seed=b", "--force"]);
    for field in ["partuuid", "uuid"] {
        assert_ne!(first["partitions"][1][field], second["partitions"][1][field]);
    }
    let differs = Command::new("cmp").args(["-s", &one, &three]).status().unwrap();
    assert_eq!(differs.code(), Some(1));
}

#[test]
fn kernels_are_in_the_efi_system_partition() {
    let place = Place::new();
    let line = format!("rw composefs={}\0", place.digest);
    let kernels = ["os-1+3.efi", "other.efi"].map(|name| place.kernel(name, 0xaa64, &line));
    let loader = place.kernel("systemd-boot.efi", 0xaa64, &line);
    let words: Vec<_> = kernels.iter().flat_map(|kernel| ["--uki", kernel]).collect();
    let report = place.report("disk", &words);
    assert_eq!(report["arch"], "aarch64");
    let files = ["EFI/BOOT/BOOTAA64.EFI", "EFI/Linux/os-1+3.efi", "EFI/Linux/other.efi"];
    assert_eq!(report["efi"], serde_json::json!(files));
    assert_eq!(report["partitions"][1]["type"], "b921b045-1df0-41c3-af44-4c6f280d3fae");
    let (start, len) = (number(&report, 0, "start"), number(&report, 0, "size"));
    // Tables, directories and files are at the beginning.
    let mut bytes = vec![0; 2 << 20];
    File::open(place.path("disk")).unwrap().read_exact_at(&mut bytes, start).unwrap();
    fs::write(place.path("esp"), &bytes).unwrap();
    OpenOptions::new().write(true).open(place.path("esp")).unwrap().set_len(len).unwrap();
    let found = judge("fsck.fat", &["-n", "-v", "-l", place.path("esp").to_str().unwrap()]);
    for file in files {
        assert!(found.contains(&format!("/{file}")), "{file}: {found}");
    }
    let whole = fs::read(place.path("os-1+3.efi")).unwrap();
    let copies = (0..bytes.len() / 512).filter(|sector| bytes[sector * 512..].starts_with(&whole)).count();
    assert_eq!(copies, 3, "two kernels with the same bytes, and the first one as the loader");
    let with_loader = place.report("other", &["--loader", &loader, "--uki", &kernels[0]]);
    assert_eq!(with_loader["efi"], serde_json::json!(files[..2]));
}
