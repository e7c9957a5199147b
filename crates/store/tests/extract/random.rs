//! Random trees are extracted and scanned again.

use std::collections::BTreeMap;

use libcomposefs_content::{DigestOnly, NoProgress};
use libcomposefs_image::tree::{Data, InodeId, Kind, Tree};
use libcomposefs_image::{Algorithm, verity};
use libcomposefs_scan::{Options as ScanOptions, scan};
use libcomposefs_store::extract::Options;
use libcomposefs_testkit::model::{self, Model};
use libcomposefs_testkit::privilege::is_root;
use libcomposefs_testkit::{random, skip};

use crate::place::{Place, Tmpfs, failures, noise};

/// Gives every file with an object a content that exists.
fn with_objects(model: &mut Model, place: &Place) {
    for (index, node) in model.nodes.iter_mut().enumerate() {
        // The kernel accepts some values of it that it cannot return.
        node.xattrs.remove(&b"security.capability"[..]);
        if let model::NodeKind::Regular { size, content: None, payload, digest } = &mut node.kind
            && *size > 0
        {
            let content = noise(65 + (*size % 300_000) as usize, index as u32 % 5);
            let object = place.object(&content);
            (*size, *payload, *digest) = (content.len() as u64, Some(object.object_path().into_bytes()), Some(object));
        }
    }
}

/// The visible state of one path: metadata and the first name of the inode; xattrs.
type Seen = (String, BTreeMap<Vec<u8>, Vec<u8>>);

/// Returns the visible state of a whole tree.
fn seen(tree: &Tree) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    let mut first: BTreeMap<InodeId, Vec<u8>> = BTreeMap::new();
    let mut all = vec![(b"/".to_vec(), InodeId::ROOT)];
    let mut entries = tree.depth_first();
    while let Some((path, entry)) = entries.step() {
        all.push((path.to_vec(), entry.inode));
    }
    for (path, id) in all {
        let inode = tree.inode(id);
        let content = match inode.data() {
            Data::Regular { content: Some(content), .. } => verity::digest(Algorithm::Sha256, content).to_hex(),
            Data::Regular { digest, .. } => digest.map_or_else(String::new, |digest| digest.to_hex()),
            Data::Symlink(target) => String::from_utf8_lossy(target).into_owned(),
            Data::Directory | Data::Special => String::new(),
        };
        let is_symlink = inode.kind() == Kind::Symlink;
        // No file system keeps the mode of a symlink.
        let mode = if is_symlink { 0o120777 } else { inode.mode() };
        let first = first.entry(id).or_insert_with(|| path.clone());
        let text = format!(
            "{mode:o} {}:{} {} {:?} {content} {}",
            inode.uid(),
            inode.gid(),
            inode.rdev(),
            inode.mtime(),
            String::from_utf8_lossy(first)
        );
        seen.insert(path, (text, inode.xattrs().map(|x| (x.name.to_vec(), x.value.to_vec())).collect()));
    }
    seen
}

#[test]
fn random_trees_are_restored() {
    let place = Place::new();
    let test = "random::random_trees_are_restored";
    if !is_root() {
        return skip::announce(test, "owners, devices and a tmpfs take root");
    }
    // Tmpfs stores every time.
    let tmpfs = match Tmpfs::new(place.path("tmpfs"), "mode=755") {
        Ok(tmpfs) => tmpfs,
        Err(reason) => return skip::announce(test, &reason),
    };
    let (mut xattrs_set, mut links) = (0, 0);
    for (number, mut model) in random::series(Algorithm::Sha256, 60, 60).enumerate() {
        with_objects(&mut model, &place);
        let tree = model.build();
        let out = tmpfs.0.join(number.to_string());
        let outcome = place.extract_to(&tree, &out, &Options::default()).unwrap();
        assert!(outcome.is_whole(), "{number}: {:?}", failures(&outcome));
        let options = ScanOptions { hardlinks: true, inline_max: 64, ..ScanOptions::default() };
        let found = scan(&out, &options, &DigestOnly(Algorithm::Sha256), &NoProgress).unwrap();
        let (expected, found) = (seen(&tree), seen(&found));
        assert!(expected.keys().eq(found.keys()), "{number}: other paths");
        let mut missing = 0;
        for ((path, (text, xattrs)), (found_text, found_xattrs)) in expected.iter().zip(found.values()) {
            let path = String::from_utf8_lossy(path);
            assert_eq!(text, found_text, "{number}: {path}");
            for (name, value) in found_xattrs {
                assert_eq!(xattrs.get(name), Some(value), "{number}: {path}: {}", String::from_utf8_lossy(name));
            }
            missing += (xattrs.len() - found_xattrs.len()) as u64;
            xattrs_set += found_xattrs.len();
        }
        // Each xattr that is missing was reported; for a file with several names only once.
        let told: u64 = outcome.xattrs.values().map(|left| left.count).sum();
        assert!(told <= missing && (told > 0) == (missing > 0), "{number}: {missing} xattrs are missing, {told} told");
        links += outcome.links;
    }
    assert!(xattrs_set > 500 && links > 20, "{xattrs_set} xattrs, {links} links");
}
