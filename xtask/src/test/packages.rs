//! The published packages: each is built from its own archive, and its interface is compared with the last release.
//!
//! With `--full` or `--only package`, as every package is compiled once more.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::Options;
use super::report::Suite;
use crate::crates_io::{self, Profile};
use crate::{metadata, paths, process};

/// The release that the interface is compared with.
const BASELINE: &str = "v0.2.0";
const SEMVER_CHECKS: &str = "cargo-semver-checks";
const VERSION: &str = "0.51.0";

type Check = fn(&[String]) -> Result<()>;

const CHECKS: &[(&str, Check)] = &[
    ("every_package_builds_from_its_archive", build_archives),
    ("the_interface_is_compatible_with_the_last_release", compare_interface),
];

/// Runs the checks that the options select.
pub(super) fn run(options: &Options) -> Result<Vec<Suite>> {
    let is_named = |name: &str| options.filter.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let checks: Vec<_> = CHECKS.iter().filter(|(name, _)| options.wants_long("package") && is_named(name)).collect();
    if checks.is_empty() {
        return Ok(Vec::new());
    }
    let start = Instant::now();
    let crates = metadata::crates()?;
    let excluded = crates.iter().filter(|one| !one.is_published).flat_map(|one| ["--exclude".into(), one.name.clone()]);
    let excluded: Vec<String> = excluded.collect();
    let mut suite = Suite { kind: "package".into(), name: "workspace".into(), finished: true, ..Suite::default() };
    for (name, check) in checks {
        match check(&excluded) {
            Ok(()) => {
                println!("package: {name}: ok");
                suite.passed += 1;
            }
            Err(error) => {
                println!("package: {name}: {error:#}");
                suite.failed += 1;
                suite.failures.push((*name).to_owned());
            }
        }
    }
    suite.took = start.elapsed();
    Ok(vec![suite])
}

/// Packs every package and builds it from the archive alone, without the other files of the checkout.
fn build_archives(excluded: &[String]) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(paths::checkout()).args(["package", "--quiet", "--workspace", "--allow-dirty"]);
    // In a directory that it knows, cargo takes an archive of the same version for the same one.
    let target = tempfile::tempdir_in(paths::target()).context("cannot make a directory for cargo")?;
    let result = process::run(cargo.args(excluded).arg("--target-dir").arg(target.path()));
    remove_unpacked_archives()?;
    result
}

/// Removes what cargo unpacked of the archives in its home directory, where it would stay.
fn remove_unpacked_archives() -> Result<()> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    let names: Vec<String> = metadata::crates()?.into_iter().map(|one| one.name + "-").collect();
    let is_ours = |name: &str| {
        let version = names.iter().find_map(|ours| name.strip_prefix(ours.as_str()));
        version.is_some_and(|version| version.starts_with(|first: char| first.is_ascii_digit()))
    };
    // The registry that cargo makes of the archives has no host before the dash.
    for registry in directories(&home.join("registry/src"), |name| name.starts_with('-'))? {
        for archive in directories(&registry, is_ours)? {
            std::fs::remove_dir_all(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        }
    }
    Ok(())
}

/// Lists the entries of a directory whose names are wanted; none if there is no such directory.
fn directories(parent: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    if !parent.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent).with_context(|| format!("cannot list {}", parent.display()))? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&is_wanted) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Compares the interface of the libraries with that of [`BASELINE`]. Without the tag this fails. Libraries that are
/// newer are not compared.
fn compare_interface(excluded: &[String]) -> Result<()> {
    let tag = format!("refs/tags/{BASELINE}^{{commit}}");
    let mut git = Command::new("git");
    git.current_dir(paths::checkout()).args(["rev-parse", "--verify", "--quiet", &tag]);
    process::output(&mut git).with_context(|| format!("the checkout has no tag {BASELINE}: fetch the tags"))?;
    let home = paths::cache(&format!("{SEMVER_CHECKS}/{VERSION}"))?;
    let program = {
        let _lock = paths::lock(&home)?;
        crates_io::install(SEMVER_CHECKS, VERSION, SEMVER_CHECKS, &home, Profile::Quick)?
    };
    let mut semver = Command::new(program);
    semver.current_dir(paths::checkout()).args(["semver-checks", "--workspace", "--baseline-rev", BASELINE]);
    for name in newer_crates()? {
        semver.args(["--exclude", &name]);
    }
    let status = semver.args(excluded).status().context("cannot run cargo-semver-checks")?;
    ensure!(status.success(), "the interface is not compatible with {BASELINE}: see above");
    Ok(())
}

/// Returns the names of the crates that [`BASELINE`] did not have.
fn newer_crates() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(paths::checkout()).args(["grep", "--no-color", "-hE", "^name = ", BASELINE, "--", "*/Cargo.toml"]);
    let names = process::text(&mut git)?;
    let is_old = |name: &str| names.lines().any(|line| line == format!("name = \"{name}\""));
    let published = metadata::crates()?.into_iter().filter(|one| one.is_published);
    Ok(published.map(|one| one.name).filter(|name| !is_old(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_for_development_are_not_published() {
        let crates = metadata::crates().unwrap();
        let is_published = |name: &str| crates.iter().find(|one| one.name == name).map(|one| one.is_published);
        for name in ["xtask", "composefs-bench", "composefs-fuzz", "composefs-vmtest", "libcomposefs-testkit"] {
            assert_eq!(is_published(name), Some(false), "{name}");
        }
        assert_eq!(is_published("libcomposefs-image"), Some(true));
    }
}
