//! A repository with an image that could be booted, and the programs that judge a disk.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_testkit::efi::efi_program;
use libcomposefs_testkit::program::{Outcome, Program};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

/// A directory with the repository `repo`, which has the image `os/1`.
pub(crate) struct Place {
    pub(crate) dir: TempDir,
    /// Digest of the image.
    pub(crate) digest: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with_algorithm("sha256")
    }

    pub(crate) fn with_algorithm(algorithm: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        for name in ["bin", "boot", "dev", "etc", "proc", "run", "sbin", "sys", "sysroot", "usr", "var/lib", "var/log"]
        {
            fs::create_dir_all(tree.join(name)).unwrap();
        }
        fs::write(tree.join("sbin/init"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(tree.join("sbin/init"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(tree.join("etc/base"), "base").unwrap();
        // Files of one block, of many blocks, and of more than one level of hashes.
        for (name, len) in [("one", 4096), ("some", 70_001), ("many", 3_000_000)] {
            fs::write(tree.join("usr").join(name), noise(len)).unwrap();
        }
        fs::write(tree.join("var/lib/data"), noise(10_000)).unwrap();
        fs::hard_link(tree.join("var/lib/data"), tree.join("var/log/link")).unwrap();
        fs::write(tree.join("var/lib/a\nname"), "inline").unwrap();
        symlink("target", tree.join("var/short")).unwrap();
        symlink("t".repeat(100), tree.join("var/long")).unwrap();
        fs::set_permissions(tree.join("var/log"), fs::Permissions::from_mode(0o2755)).unwrap();
        // More names than a block of a directory has room for.
        fs::create_dir(tree.join("var/many")).unwrap();
        for number in 0..200 {
            fs::write(tree.join(format!("var/many/{number:0100}")), "").unwrap();
        }
        let place = Self { dir, digest: String::new() };
        let algorithm = format!("--algorithm={algorithm}");
        let _ = place.run(&["init", "--insecure", &algorithm]).ok();
        let tree = tree.to_str().unwrap().to_owned();
        let digest = place.run(&["create", &tree, "--bootable", "--name=os/1"]).ok().line().to_owned();
        Self { digest, ..place }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `composefs` with the repository.
    pub(crate) fn run(&self, words: &[&str]) -> Outcome {
        let repository = self.path("repo");
        let all = [OsStr::new("--repo"), repository.as_os_str()].into_iter().chain(words.iter().map(OsStr::new));
        Program { path: Path::new(COMPOSEFS), name: "composefs" }.run(all, b"")
    }

    /// Runs `composefs disk os/1` with the name of a file and more words.
    pub(crate) fn disk(&self, out: &str, words: &[&str]) -> Outcome {
        let out = self.path(out);
        self.run(&[&["disk", "os/1", out.to_str().unwrap()], words].concat())
    }

    /// Makes a disk and returns its report.
    pub(crate) fn report(&self, out: &str, words: &[&str]) -> Value {
        let made = self.disk(out, &[&["--json"], words].concat()).ok();
        assert_eq!(made.stderr, "");
        serde_json::from_slice(&made.stdout).unwrap()
    }

    /// Returns the sorted names in the directory.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// Returns the path of an object, by the path of its file in the tree.
    pub(crate) fn object_of(&self, file: &str) -> PathBuf {
        let digest = self.run(&["digest", self.path("tree").join(file).to_str().unwrap()]).ok();
        let hex = digest.line().split(' ').next().unwrap().to_owned();
        self.path("repo/objects").join(&hex[..2]).join(&hex[2..])
    }

    /// Writes an EFI program without code, with this command line.
    pub(crate) fn kernel(&self, name: &str, machine: u16, line: &str) -> String {
        let mut bytes = efi_program(machine, Some(line));
        bytes.extend_from_slice(&noise(20_000));
        fs::write(self.path(name), bytes).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }
}

/// Returns bytes that look random.
pub(crate) fn noise(len: u32) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Runs a program that judges a disk, and returns its output. Programs of administrators may not be in the path.
pub(crate) fn judge(program: &str, words: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let ran = Command::new(program).args(words).env("PATH", path).output();
    let ran = ran.unwrap_or_else(|error| panic!("{program}: {error} (cargo xtask setup installs it)"));
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{program} {words:?}: {text}{}", String::from_utf8_lossy(&ran.stderr));
    text
}
