//! The versions of Debian packages that apt knows.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Result, ensure};

/// Returns the versions of each package, the oldest first.
pub(crate) fn versions_of(packages: &[&str]) -> Result<BTreeMap<String, Vec<String>>> {
    let output = Command::new("apt-cache").arg("madison").args(packages).output()?;
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [name, version, source] = fields[..]
            && !source.contains("Sources")
        {
            versions.entry(name.to_owned()).or_default().push(version.to_owned());
        }
    }
    ensure!(!versions.is_empty(), "no package of {packages:?} is known: run apt-get update");
    let is_older = |a: &str, b: &str| {
        Command::new("dpkg").args(["--compare-versions", a, "lt", b]).status().is_ok_and(|status| status.success())
    };
    for all in versions.values_mut() {
        all.sort_by(|a, b| if is_older(a, b) { std::cmp::Ordering::Less } else { is_older(b, a).cmp(&false) });
        all.dedup();
    }
    Ok(versions)
}
