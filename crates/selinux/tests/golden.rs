//! Bootable images of recorded trees: each has the digest that cfsctl 0.9.4 or another program has given to it
//! (`golden/digests.tsv`). `crates/cli/tests/reference_bootable.rs` asks cfsctl about all of them.

use std::convert::Infallible;
use std::fs;
use std::path::Path;

use libcomposefs_image::dump::{Options, Parser};
use libcomposefs_image::policy::{FileContents, Inline, Policy, Transform, XattrPolicy};
use libcomposefs_image::tree::{Data, InodeId, Tree};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_selinux::{Contexts, Labels, PolicyFiles};

fn golden() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn read_tree(name: &str, algorithm: Algorithm) -> Tree {
    let text = fs::read(golden().join(format!("{name}.dump"))).unwrap();
    let mut parser = Parser::new(Options { algorithm, strict: false });
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        parser.push_line(line).unwrap();
    }
    parser.finish().unwrap().tree
}

/// Returns a file of the tree, all of whose contents are in the dump.
fn content(tree: &Tree, path: &str) -> Option<Vec<u8>> {
    let names = path.split('/').filter(|name| !name.is_empty());
    let inode = names.into_iter().try_fold(InodeId::ROOT, |at, name| Some(tree.child(at, name.as_bytes())?.inode))?;
    match tree.inode(inode).data() {
        Data::Regular { content, .. } => Some(content.unwrap_or_default().to_vec()),
        other => panic!("{path} is {other:?}"),
    }
}

fn digest(tree: &Tree, policy: Policy) -> Result<Digest, String> {
    let mut bootable = policy.apply(tree, &FileContents::default()).map_err(|error| error.to_string())?;
    let files = PolicyFiles::find(|path| Ok::<_, Infallible>(content(tree, path)));
    if let Some(files) = files.map_err(|error| error.to_string())? {
        let contexts = Contexts::compile(&files).map_err(|error| error.to_string())?;
        let mut labels = Labels::new(&contexts);
        bootable.relabel(|path, kind| labels.label(path, kind)).map_err(|error| error.to_string())?;
    }
    Ok(policy.plan(&bootable).unwrap().digest(policy.algorithm))
}

#[test]
fn recorded_trees_have_the_recorded_digests() {
    let table = fs::read_to_string(golden().join("digests.tsv")).unwrap();
    let (mut digests, mut refusals, mut wrong) = (0, 0, Vec::new());
    for row in table.lines().filter(|row| !row.starts_with('#')) {
        let [name, algorithm, version, xattrs, expected, _] = row.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let algorithm: Algorithm = algorithm.parse().unwrap();
        let kept = if xattrs == "keep-user-xattrs" { XattrPolicy::CapabilityAndUser } else { XattrPolicy::Capability };
        let policy = Policy {
            version: version.parse().unwrap(),
            algorithm,
            xattrs: kept,
            hardlinks: true,
            inline: Inline::UpTo(64),
            transform: Transform::ContainerAndBoot,
            ..Policy::MKCOMPOSEFS
        };
        match digest(&read_tree(name, algorithm), policy) {
            Ok(digest) if digest.to_hex() == expected => digests += 1,
            Err(_) if expected == "ERROR" => refusals += 1,
            other => wrong.push(format!("{name} {algorithm} {version} {xattrs}: {other:?}, expected {expected}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(digests >= 50 && refusals >= 8, "{digests} {refusals}");
}
