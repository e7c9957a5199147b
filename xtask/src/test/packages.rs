//! The published packages: each is built from its own archive, and its interface is compared with the last release.
//!
//! With `--full` or `--only package`, as every package is compiled once more.

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
    process::run(cargo.args(excluded))
}

/// Compares the interface of the libraries with that of [`BASELINE`]. Without the tag this fails.
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
    let status = semver.args(excluded).status().context("cannot run cargo-semver-checks")?;
    ensure!(status.success(), "the interface is not compatible with {BASELINE}: see above");
    Ok(())
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
