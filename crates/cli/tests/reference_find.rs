//! Comparison of `composefs find` with other programs that list images, as black boxes: `composefs-info` of the C tools
//! and of cfsctl.

use std::fs;
use std::path::{Path, PathBuf};

use libcomposefs_image::dump::{Also, escape};
use libcomposefs_testkit::program::Program;
use libcomposefs_testkit::{golden, skip, stats};
use serde_json::Value;

const OURS: &str = env!("CARGO_BIN_EXE_composefs");

/// Goldens that composefs-info 1.0.8 lists differently: it reads two bytes too many of some payloads.
const C_DIFFERS: [&str; 2] = ["external-payload-long", "external-payload-slashes"];
/// Goldens that cfsctl lists differently: `cfsctl.rs` has the reasons.
const CFSCTL_DIFFERS: [&str; 11] = [
    "external-no-payload",
    "external-payload-long",
    "external-payload-slashes",
    "hardlink-kinds",
    "hardlink-nlink-from-dump",
    "mixed-tree-300",
    "mixed-tree-4000",
    "syntax-digest-upper-long",
    "syntax-numbers",
    "whiteout-hardlinked",
    "whiteout-stub-names",
];

/// Returns the installed peers, each with its name and the goldens for which it differs.
fn peers(test: &str) -> Vec<(PathBuf, &'static str, &'static [&'static str])> {
    let all: [(&str, &[&str]); 2] = [("composefs-info", &C_DIFFERS), ("cfsctl", &CFSCTL_DIFFERS)];
    let folder = std::env::var_os("COMPOSEFS_PEERS").map(PathBuf::from).unwrap_or_default();
    let there: Vec<_> = all
        .into_iter()
        .map(|(name, differs)| (folder.join(name), name, differs))
        .filter(|(path, ..)| path.exists())
        .collect();
    if there.is_empty() {
        skip::announce(test, "COMPOSEFS_PEERS does not name a folder with composefs-info or cfsctl");
    }
    there
}

fn bytes(object: &Value, key: &str) -> Option<Vec<u8>> {
    match object[format!("{key}_hex")].as_str() {
        Some(hex) => {
            let pairs = hex.as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap());
            Some(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect())
        }
        None => object[key].as_str().map(|text| text.as_bytes().to_owned()),
    }
}

/// Returns the output of `find` in the format of `composefs-info ls`, which prints the target or object of an inode
/// with its first path only.
fn as_list(image: &Path) -> Vec<u8> {
    let program = Program { path: Path::new(OURS), name: "composefs" };
    let out = program.run([Path::new("find"), Path::new("--json"), image], b"").ok().stdout;
    let found: Vec<Value> = serde_json::from_slice(&out).unwrap();
    let (mut seen, mut list) = (std::collections::HashSet::new(), Vec::new());
    for object in found.iter().filter(|object| object["path"] != "/") {
        escape(&bytes(object, "path").unwrap(), Also::NotSpaces, &mut list);
        if seen.insert(object["nid"].as_u64()) {
            let what = [("\t-> ", bytes(object, "target")), ("\t@ ", bytes(object, "payload"))];
            if object["type"] == "directory" {
                list.extend_from_slice(b"/\t");
            }
            for (mark, what) in what {
                if let Some(what) = what {
                    list.extend_from_slice(mark.as_bytes());
                    escape(&what, Also::Nothing, &mut list);
                }
            }
        }
        list.push(b'\n');
    }
    list
}

fn theirs(path: &Path, image: &Path) -> Vec<u8> {
    Program { path, name: "composefs-info" }.run([Path::new("ls"), image], b"").stdout
}

#[test]
fn find_lists_the_same_entries_of_goldens() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    for (path, name, differs) in peers("find_lists_the_same_entries_of_goldens") {
        for case in golden::good() {
            let program = Program { path: Path::new(OURS), name: "mkcomposefs" };
            let out = program.run(["--min-version=1", "--from-file", "-", "-"], &case.dump).ok();
            fs::write(&image, out.stdout).unwrap();
            let is_same = as_list(&image) == theirs(&path, &image);
            assert_eq!(is_same, !differs.contains(&case.name.as_str()), "{name}: {}", case.name);
        }
        let (all, differing) = (golden::good().len(), differs.len());
        stats::show(&format!("find lists {} of {all} goldens as {name} does", all - differing));
    }
}

#[test]
fn find_lists_the_same_entries_of_real_trees() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let minbase = std::env::var("COMPOSEFS_MINBASE").ok();
    for (path, name, _) in peers("find_lists_the_same_entries_of_real_trees") {
        for tree in ["/etc", "/usr/lib/systemd"].into_iter().chain(minbase.as_deref()) {
            let program = Program { path: Path::new(OURS), name: "mkcomposefs" };
            fs::write(&image, program.run([tree, "-"], b"").ok().stdout).unwrap();
            assert!(as_list(&image) == theirs(&path, &image), "{name}: {tree}");
        }
    }
}
