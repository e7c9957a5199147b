//! Reads the metadata of the workspace from cargo.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{paths, process};

/// A crate of the workspace.
#[derive(Debug, Default, Clone)]
pub(crate) struct Crate {
    pub(crate) name: String,
    /// Names of the crates it depends on, ours and others.
    pub(crate) dependencies: Vec<String>,
    /// Names of the crates that only its tests depend on.
    pub(crate) dev_dependencies: Vec<String>,
    /// The names of its integration tests.
    pub(crate) tests: Vec<String>,
    /// False for a crate with `publish = false`.
    pub(crate) is_published: bool,
}

/// All crates of the workspace.
pub(crate) fn crates() -> Result<Vec<Crate>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(paths::checkout()).args(["metadata", "--no-deps", "--format-version=1"]);
    let metadata: Value = serde_json::from_slice(&process::output(&mut cargo)?)?;
    list(&metadata["packages"]).iter().map(|package| read(package).context("odd cargo metadata")).collect()
}

/// Builds a test program by a command with `--message-format=json-render-diagnostics`, and tells where it is.
pub(crate) fn test_program(build: &mut Command, target: &str) -> Result<PathBuf> {
    let messages = process::text(build)?;
    let mut programs = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == *target && message["profile"]["test"] == true;
        message["executable"].as_str().filter(|_| ours).map(PathBuf::from)
    });
    programs.next_back().with_context(|| format!("cargo built no test {target}"))
}

fn read(package: &Value) -> Option<Crate> {
    let mut found = Crate { name: package["name"].as_str()?.to_owned(), ..Crate::default() };
    for dependency in list(&package["dependencies"]) {
        let name = dependency["name"].as_str()?.to_owned();
        match dependency["kind"].as_str() {
            Some("dev") => found.dev_dependencies.push(name),
            _ => found.dependencies.push(name),
        }
    }
    // Null if every registry may have it, empty if none may.
    found.is_published = package["publish"].as_array().is_none_or(|registries| !registries.is_empty());
    for target in list(&package["targets"]) {
        if list(&target["kind"]).contains(&Value::from("test")) {
            found.tests.push(target["name"].as_str()?.to_owned());
        }
    }
    Some(found)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
