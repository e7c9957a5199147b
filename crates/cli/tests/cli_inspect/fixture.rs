//! Fixture: a directory with images and objects, and the program.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcomposefs_testkit::program::{Outcome, Program};
use serde_json::Value;

pub(crate) fn program(name: &'static str) -> Program<'static> {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name }
}

/// Runs `composefs`.
pub(crate) fn composefs<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    program("composefs").run(arguments, b"")
}

/// Builds an image from a dump.
pub(crate) fn build(dump: &[u8], version: &str, image: &Path) {
    let versions = [format!("--min-version={version}"), format!("--max-version={version}")];
    let line = versions.iter().map(String::as_str).chain(["--from-file", "-", "-"]);
    fs::write(image, program("mkcomposefs").run(line, dump).ok().stdout).unwrap();
}

pub(crate) struct Place(pub(crate) tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Creates a fixture whose `image` is built from a dump.
    pub(crate) fn with(dump: &[u8]) -> Self {
        let place = Self::new();
        build(dump, "1", &place.path("image"));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Runs a command line; words `@NAME` are replaced by paths of the fixture.
    pub(crate) fn run(&self, line: &str) -> Outcome {
        let word = |word: &str| match word.split_once('@') {
            Some((before, name)) => [OsStr::new(before), self.path(name).as_os_str()].concat(),
            None => word.into(),
        };
        composefs(line.split(' ').filter(|word| !word.is_empty()).map(word))
    }

    /// Returns the output of a command line that must succeed.
    pub(crate) fn out(&self, line: &str) -> String {
        String::from_utf8(self.run(line).ok().stdout).unwrap()
    }

    pub(crate) fn json(&self, line: &str) -> Value {
        serde_json::from_slice(&self.run(line).ok().stdout).unwrap()
    }
}

trait Concat {
    fn concat(&self) -> std::ffi::OsString;
}

impl Concat for [&OsStr; 2] {
    fn concat(&self) -> std::ffi::OsString {
        self.iter().copied().collect()
    }
}

/// Returns the bytes of a JSON field, from its `_hex` variant if there is one.
pub(crate) fn bytes(object: &Value, key: &str) -> Vec<u8> {
    if let Some(hex) = object[format!("{key}_hex")].as_str() {
        return hex
            .as_bytes()
            .chunks(2)
            .map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap())
            .collect();
    }
    object[key].as_str().unwrap_or_else(|| panic!("no {key} in {object}")).as_bytes().to_owned()
}

/// Joins a directory and an absolute path below it.
pub(crate) fn below(directory: &Path, path: &[u8]) -> PathBuf {
    let slashes = path.iter().take_while(|byte| **byte == b'/').count();
    directory.join(OsStr::from_bytes(&path[slashes..]))
}
