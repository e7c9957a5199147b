//! Images are refused and accepted by signatures of real keys, in every command that gives an image a name or mounts
//! it.

mod arrivals;
mod commits;
mod floors;
mod ipe_policy;
mod policy_files;
mod signing;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libcomposefs_testkit::skip;
use serde_json::Value;
use tempfile::TempDir;

/// A machine: repositories, keys, and a user whose policy is the only one.
struct TrustingMachine(TempDir);

impl TrustingMachine {
    /// Makes a machine with the repository `here`, which has the image `built` of a small tree. `None` if the test must
    /// be skipped.
    fn new(test: &str) -> Option<Self> {
        if Command::new("ssh-keygen").arg("-?").stderr(Stdio::null()).status().is_err() {
            skip::announce(test, "ssh-keygen is not installed (Debian: openssh-client)");
            return None;
        }
        let machine = Self(tempfile::tempdir().unwrap());
        for name in ["config/composefs", "state", "tree"] {
            fs::create_dir_all(machine.path(name)).unwrap();
        }
        fs::write(machine.path("tree/file"), vec![b'x'; 5000]).unwrap();
        machine.ok("here", &["init", "--insecure"]);
        machine.ok("here", &["create", machine.path("tree").to_str().unwrap(), "--name=built"]);
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn command(&self, repository: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_composefs"));
        command.env("XDG_CONFIG_HOME", self.path("config")).env("XDG_STATE_HOME", self.path("state"));
        command.arg("--repo").arg(self.path(repository));
        command
    }

    fn run(&self, repository: &str, arguments: &[&str]) -> Output {
        self.command(repository).args(arguments).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, repository: &str, arguments: &[&str]) -> String {
        let output = self.run(repository, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, repository: &str, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(repository, arguments)).unwrap()
    }

    /// Expects a refusal that has each of these words, and returns the message.
    #[track_caller]
    fn refused(&self, repository: &str, arguments: &[&str], words: &[&str]) -> String {
        let output = self.run(repository, arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{arguments:?}: {word:?} is not in {message}");
        }
        message
    }

    /// Makes a key, once, and returns the line of its public part.
    fn key(&self, name: &str) -> String {
        let file = self.path(name);
        if !file.exists() {
            let mut make = Command::new("ssh-keygen");
            make.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&file);
            assert!(make.status().unwrap().success());
        }
        fs::read_to_string(file.with_extension("pub")).unwrap().trim().to_owned()
    }

    fn policy_file(&self) -> PathBuf {
        self.path("config/composefs/policy.toml")
    }

    /// Writes the policy: these keys, and these lines.
    fn policy(&self, keys: &[&str], lines: &str) {
        let mut text = "version = 1\n".to_owned();
        for key in keys {
            text.push_str(&format!("[key.{key}]\nssh = {:?}\n", self.key(key)));
        }
        fs::write(self.policy_file(), text + lines).unwrap();
    }

    /// A policy that asks for the key `release` for names of Debian, and for nothing for names that begin with `free/`.
    fn release_policy(&self) {
        let rules = "[[rule]]\nname = \"debian/*\"\nkeys = [\"release\"]\n[[rule]]\nname = \"free/*\"\naccept = true\n";
        self.policy(&["release"], rules);
    }

    /// Signs the image `built` with a key under a name.
    fn sign(&self, key: &str, name: &str, more: &[&str]) -> String {
        let _ = self.key(key);
        let (key, name) = (format!("--key={}", self.text(key)), format!("--as={name}"));
        self.ok("here", &[&["sign", "built", &key, &name], more].concat())
    }

    /// Returns the digest of an image of the repository `here`.
    fn digest(&self, name: &str) -> String {
        let link = fs::read_link(self.path("here/images/refs").join(name)).unwrap();
        link.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn signatures(&self, repository: &str, digest: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path(repository).join("signatures").join(digest)) else {
            return Vec::new();
        };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "ssh"));
        paths
    }

    fn has_ref(&self, repository: &str, name: &str) -> bool {
        Path::new(&self.path(repository)).join("images/refs").join(name).is_symlink()
    }
}
