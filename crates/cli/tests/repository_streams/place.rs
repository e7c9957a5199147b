//! A copy of the recorded repository, and commands in it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_testkit::program::{Outcome, Program};

pub(crate) const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");
pub(crate) const TAG: &str = "streams/refs/oci/example%2Fthree:1";
pub(crate) const IMAGE: &str = "0d3cf7d6597e4cb69cc48529027e05951ad2ce7f7d5d406327eb64224fae1dee";
pub(crate) const MANIFEST: &str =
    "oci-manifest-sha256:107fba80d422756410a1687ebedf3f741a86fe2ddaf8aababe5ff84adec4076e";
pub(crate) const CONFIG: &str = "oci-config-sha256:fd8cb47ccfac09042c0f21f1a81940bbe29c5612d32965804610a96723bd3bef";
pub(crate) const LAYER: &str = "oci-layer-sha256:100fa0170628f4dbd85374494acb64ec08de6c735caa6767429b02d21d2ce7dc";

pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

/// Everything that gc may remove: links of images, of streams, and objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) images: BTreeSet<String>,
    pub(crate) streams: BTreeSet<String>,
    pub(crate) objects: BTreeSet<String>,
}

impl Place {
    /// Unpacks the recorded repository. gc has removed what nothing needs in it.
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(place.repo()).unwrap();
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/data/cfsctl/oci-three-layers.tar.gz");
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(archive).arg("-C").arg(place.repo()).arg("--no-same-owner");
        assert!(tar.status().unwrap().success());
        assert_eq!(place.gc_json(&["--grace=0"])["removed"]["objects"], 2);
        place
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.repo().join(below)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        let program = Program { path: Path::new(COMPOSEFS), name: "composefs" };
        program.run([&["--repo", self.repo().to_str().unwrap()], arguments].concat(), b"")
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_slice(&self.run(&[arguments, &["--json"]].concat()).stdout).unwrap()
    }

    pub(crate) fn gc_json(&self, arguments: &[&str]) -> serde_json::Value {
        self.json(&[&["gc"], arguments].concat())
    }

    pub(crate) fn untag(&self) {
        fs::remove_file(self.path(TAG)).unwrap();
    }

    pub(crate) fn link(&self, text: &str, below: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(text, path).unwrap();
    }

    /// Returns the object that the link of a stream leads to, as a path.
    pub(crate) fn object_of(&self, stream: &str) -> PathBuf {
        fs::canonicalize(self.path("streams").join(stream)).unwrap()
    }

    pub(crate) fn contents(&self) -> Contents {
        let names = |below: &str| -> BTreeSet<String> {
            let entries = fs::read_dir(self.path(below)).unwrap().map(|entry| entry.unwrap().file_name());
            entries.map(|name| name.into_string().unwrap()).filter(|name| name != "refs").collect()
        };
        let fans = names("objects").into_iter();
        let objects =
            fans.flat_map(|fan| names(&format!("objects/{fan}")).into_iter().map(move |o| format!("{fan}{o}")));
        Contents { images: names("images"), objects: objects.collect(), streams: names("streams") }
    }
}
