//! Checks the dependencies between the crates against the table of allowed edges.

use anyhow::Result;

use crate::metadata::{self, Crate};

/// Each crate and the crates of ours it may use, without the prefix `libcomposefs-` or `composefs-`. A crate that is
/// not listed is a problem.
const EDGES: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "delivery", "delta", "disk", "oci", "ostree", "remote", "fuse", "trust", "mount", "repo", "selinux",
            "store", "scan", "content", "image", "sys",
        ],
    ),
    ("libcomposefs", &["ostree", "mount", "repo", "store", "scan", "content", "image"]),
    // Planned: a program that mounts for others.
    ("broker", &["mount", "repo", "trust", "image", "sys"]),
    ("remote", &["delivery", "delta", "oci", "repo", "store", "content", "trust", "image"]),
    ("delivery", &["delta", "repo", "store", "content", "image", "sys"]),
    ("oci", &["deflate", "repo", "store", "content", "image", "sys"]),
    ("disk", &["repo", "store", "image"]),
    ("ostree", &["store", "content", "image", "sys"]),
    ("repo", &["delta", "store", "scan", "content", "image", "sys"]),
    ("delta", &["deflate", "image"]),
    ("deflate", &[]),
    ("fuse", &["store", "content", "image", "sys"]),
    ("trust", &["image"]),
    ("boot", &["mount", "trust", "image", "sys"]),
    ("mount", &["image", "sys"]),
    ("capi", &["image", "mount", "sys"]),
    ("store", &["content", "image", "sys"]),
    ("selinux", &["image"]),
    ("scan", &["content", "image", "sys"]),
    ("content", &["image", "sys"]),
    ("image", &["hash"]),
    ("sys", &[]),
    ("hash", &[]),
    // For development only; nothing that ships uses them.
    ("testkit", &["image"]),
    ("vmtest", &["image", "sys"]),
    ("xtask", &[]),
    ("bench", &["delta", "hash", "image", "testkit"]),
    (
        "fuzz",
        &[
            "capi", "content", "delivery", "delta", "disk", "fuse", "hash", "image", "mount", "oci", "ostree",
            "remote", "repo", "scan", "selinux", "store", "trust",
        ],
    ),
];
/// Crates that the tests of any crate may use in addition.
const FOR_TESTS: &[&str] = &["testkit", "scan"];
/// Errors without a type are for programs, which only print them.
const MAY_USE_ANYHOW: &[&str] = &["cli", "vmtest", "xtask", "bench"];

pub(super) fn check() -> Result<Vec<String>> {
    Ok(metadata::crates()?.iter().flat_map(problems).collect())
}

fn problems(one: &Crate) -> Vec<String> {
    let name = short(&one.name);
    let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == name) else {
        return vec![format!("crate {name}: its edges are not in xtask/src/tidy/edges.rs")];
    };
    let ours = |names: &[String]| -> Vec<String> {
        names.iter().filter(|n| short(n) != n.as_str()).map(|n| short(n).to_owned()).collect()
    };
    let mut problems = Vec::new();
    for used in ours(&one.dependencies) {
        if !allowed.contains(&used.as_str()) {
            problems.push(format!("crate {name} must not use {used}"));
        }
    }
    for used in ours(&one.dev_dependencies) {
        if !allowed.contains(&used.as_str()) && !FOR_TESTS.contains(&used.as_str()) {
            problems.push(format!("the tests of crate {name} must not use {used}"));
        }
    }
    if one.dependencies.iter().any(|used| used == "anyhow") && !MAY_USE_ANYHOW.contains(&name) {
        problems.push(format!("crate {name} must not use anyhow: libraries have typed errors"));
    }
    problems
}

fn short(name: &str) -> &str {
    name.strip_prefix("libcomposefs-").or_else(|| name.strip_prefix("composefs-")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_and_anyhow() {
        let one = |name: &str, dependencies: &[&str], dev: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
            let (dependencies, dev_dependencies) = (owned(dependencies), owned(dev));
            problems(&Crate { name: name.to_owned(), dependencies, dev_dependencies, ..Crate::default() }).len()
        };
        assert_eq!(
            one("libcomposefs-repo", &["libcomposefs-scan", "libcomposefs-image", "rayon"], &["libcomposefs-testkit"]),
            0
        );
        assert_eq!(one("libcomposefs-image", &["libcomposefs-store", "anyhow"], &["libcomposefs-mount"]), 3);
        assert_eq!(one("composefs-new", &[], &[]), 1);
    }
}
