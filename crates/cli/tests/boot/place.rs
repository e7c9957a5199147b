//! A disk with a repository, and a directory that stands for the EFI system partition.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use libcomposefs_testkit::efi;
use libcomposefs_testkit::program::{Outcome, Program};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

/// A directory with the disk `disk` and the partition `esp`.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    /// Makes a place whose repository does not demand fs-verity.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("esp")).unwrap();
        fs::create_dir_all(dir.path().join("disk")).unwrap();
        let place = Self { dir };
        let _ = place.repo(&["init", "--insecure"]).ok();
        place
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the path as text.
    pub(crate) fn word(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Runs `composefs` with the repository of the disk.
    pub(crate) fn repo(&self, words: &[&str]) -> Outcome {
        let repository = self.word("disk/composefs");
        run(&[&["--repo", &repository], words].concat())
    }

    /// Runs `composefs boot` with the disk and the partition.
    pub(crate) fn boot(&self, words: &[&str]) -> Outcome {
        let (sysroot, esp) = (format!("--sysroot={}", self.word("disk")), format!("--esp={}", self.word("esp")));
        run(&[&["boot"], words, &[&sysroot, &esp]].concat())
    }

    /// Runs a command that succeeds, and returns its JSON.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        serde_json::from_slice(&self.boot(&[words, &["--json"]].concat()).ok().stdout).unwrap()
    }

    /// Makes the image `os/NAME` of a tree with a kernel, and returns its digest.
    pub(crate) fn image(&self, name: &str) -> String {
        let tree = self.tree(name, &noise(name, 50_000));
        self.create(&tree, name)
    }

    /// Makes a tree that could be booted.
    pub(crate) fn tree(&self, name: &str, kernel: &[u8]) -> PathBuf {
        let tree = self.path(format!("tree-{name}"));
        for name in
            ["bin", "boot", "dev", "etc", "proc", "run", "sbin", "sys", "sysroot", "usr/lib/modules/6.1.0", "var/lib"]
        {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        fs::write(tree.join("sbin/init"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(tree.join("sbin/init"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(tree.join("var/lib/data"), "data of the image").unwrap();
        fs::write(tree.join("usr/name"), name.repeat(100)).unwrap();
        fs::write(tree.join("usr/lib/os-release"), "ID=test\nPRETTY_NAME=\"Test OS\"\nVERSION_ID=1\n").unwrap();
        fs::write(tree.join("usr/lib/modules/6.1.0/vmlinuz"), kernel).unwrap();
        fs::write(tree.join("usr/lib/modules/6.1.0/initramfs.img"), noise("initramfs", 30_000)).unwrap();
        tree
    }

    pub(crate) fn create(&self, tree: &Path, name: &str) -> String {
        let made = self.repo(&["create", tree.to_str().unwrap(), "--name", &format!("os/{name}")]).ok();
        made.line().to_owned()
    }

    /// Installs `os/NAME` without fs-verity, and returns the name of the entry.
    pub(crate) fn install(&self, name: &str, words: &[&str]) -> String {
        let made = self.boot(&[&["install", &format!("os/{name}"), "--no-verity"], words].concat()).ok();
        made.line().to_owned()
    }

    /// Returns the names of all files of the partition, sorted.
    pub(crate) fn esp_files(&self) -> Vec<String> {
        let esp = self.path("esp");
        let (mut found, mut directories) = (Vec::new(), vec![esp.clone()]);
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                } else {
                    found.push(path.strip_prefix(&esp).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort_unstable();
        found
    }

    /// Returns the names of the refs that protect images of entries.
    pub(crate) fn refs(&self) -> Vec<String> {
        let refs = self.path("disk/composefs/images/refs/boot");
        let Ok(entries) = fs::read_dir(refs) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// Returns the text of an entry.
    pub(crate) fn entry(&self, name: &str) -> String {
        fs::read_to_string(self.path("esp/loader/entries").join(name)).unwrap()
    }

    /// Returns the names of the entries in the order of the boot loader.
    pub(crate) fn order(&self) -> Vec<String> {
        let list = self.json(&["list"]);
        list["entries"].as_array().unwrap().iter().map(|entry| entry["entry"].as_str().unwrap().to_owned()).collect()
    }

    /// Gives an entry another name, as the boot loader does when it counts.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        let entries = self.path("esp/loader/entries");
        fs::rename(entries.join(from), entries.join(to)).unwrap();
    }

    /// Writes an EFI program without code, with this command line.
    pub(crate) fn uki(&self, name: &str, line: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, efi_program(line)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

/// Returns an EFI program without code, with this command line.
pub(crate) fn efi_program(line: &str) -> Vec<u8> {
    efi::efi_program(0x8664, Some(line))
}

/// Runs `composefs`.
pub(crate) fn run(words: &[&str]) -> Outcome {
    Program { path: Path::new(COMPOSEFS), name: "composefs" }.run(words.iter().map(OsStr::new), b"")
}

/// Checks that a command fails with these words in its message.
#[track_caller]
pub(crate) fn refused(ran: &Outcome, says: &[&str]) {
    assert_eq!((ran.status, ran.stdout.len()), (Some(1), 0), "{}", ran.stderr);
    for part in says {
        assert!(ran.stderr.contains(part), "no {part:?} in {}", ran.stderr);
    }
}

/// Returns bytes that depend on a text.
pub(crate) fn noise(text: &str, len: u32) -> Vec<u8> {
    let seed = text.bytes().fold(7_u32, |all, byte| all.wrapping_mul(31).wrapping_add(byte.into()));
    (0..len).map(|i| ((i ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
