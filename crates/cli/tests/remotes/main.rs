//! `composefs push`, `pull` and `plan` with remotes on real servers: sshd, nginx, Python's http.server, moto,
//! docker-registry; over links that are cut, and from servers that change bytes.
#![cfg(feature = "network")]

mod lazy;
mod lazy_ahead;
mod lazy_fixture;
mod lazy_overlay;
mod lazy_self_test;
mod lazy_service;
mod lying_server;
#[allow(dead_code)]
#[path = "../../../remote/tests/registry/real.rs"]
mod real;
mod server_options;
#[allow(dead_code)]
#[path = "../../../remote/tests/stores/servers.rs"]
mod servers;
mod ssh;
mod web;
mod writable;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libcomposefs_testkit::numbers::noise;
use libcomposefs_testkit::program::Outcome;

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

/// A directory with repositories.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Makes the repositories `here`, with the image `image` of `files` files, and `there`.
    fn new(files: usize) -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        let tree = place.path("tree");
        fs::create_dir(&tree).unwrap();
        for number in 0..files {
            // Half of each file can be compressed.
            let content = [noise(number as u64, 1000 + number * 37 % 9000), vec![7; number * 37 % 9000]].concat();
            fs::write(tree.join(format!("f{number}")), content).unwrap();
        }
        for repository in ["here", "there"] {
            place.ok(repository, &["init", "--insecure"]);
        }
        place.ok("here", &["create", tree.to_str().unwrap(), "--name=image"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, repository: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(COMPOSEFS);
        command.arg("--repo").arg(self.path(repository)).args(arguments).stdin(Stdio::null());
        command.env("HOME", self.dir.path()).env("COMPOSEFS_SSH", self.path("ssh"));
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, repository: &str, arguments: &[&str]) -> Outcome {
        outcome(&mut self.command(repository, arguments))
    }

    #[track_caller]
    fn ok(&self, repository: &str, arguments: &[&str]) -> Outcome {
        let outcome = self.run(repository, arguments);
        assert_eq!(outcome.status, Some(0), "{arguments:?}: {outcome:?}");
        outcome
    }

    /// Checks that both repositories have the same image, with all its objects.
    #[track_caller]
    fn same(&self) {
        let images = |repository: &str| String::from_utf8(self.ok(repository, &["images"]).stdout).unwrap();
        assert_eq!(images("here"), images("there"));
        self.ok("there", &["fsck"]);
    }

    /// Makes the repository `there` empty again.
    fn forget(&self) {
        fs::remove_dir_all(self.path("there")).unwrap();
        self.ok("there", &["init", "--insecure"]);
    }
}

fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Outcome { status: output.status.code(), stdout: output.stdout, stderr }
}

/// Returns the bytes of all files below a directory.
fn bytes_below(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => bytes_below(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}
