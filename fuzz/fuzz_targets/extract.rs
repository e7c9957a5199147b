//! Two hostile dumps, with a NUL between them, extracted into the same directory one after the other: whatever
//! symlinks, payloads and names they have, nothing outside of that directory changes.
#![no_main]

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::Path;

use composefs_fuzz::{Budget, Linear, everything, parse, scratch};
use libcomposefs_content::NoProgress;
use libcomposefs_image::dump;
use libcomposefs_image::tree::Tree;
use libcomposefs_image::{Algorithm, verity};
use libcomposefs_store::Basedirs;
use libcomposefs_store::extract::{Options, Owners, Selection, extract};
use libfuzzer_sys::fuzz_target;

// A buffer for each thread, whatever the input is.
static BUDGET: Budget =
    Budget::new("extract", Linear { base: 4 << 20, per_byte: 400 }, Linear { base: 200_000_000, per_byte: 100_000 });
/// Each makes a file.
const MOST_ENTRIES: usize = 200;

fuzz_target!(|text: &[u8]| {
    let middle = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    let read = |text| parse(dump::Options { algorithm: Algorithm::Sha256, strict: false }, text).ok();
    let trees = [&text[..middle], text.get(middle + 1..).unwrap_or_default()].map(read);
    let trees: Vec<Tree> = trees.into_iter().flatten().map(|parsed| parsed.tree).collect();
    if trees.is_empty() || trees.iter().any(|tree| tree.entry_count() > MOST_ENTRIES) {
        return;
    }
    let scratch = scratch();
    let (root, target) = (scratch.path(), scratch.path().join("target"));
    surroundings(root).expect("the temporary directory can be written");
    fs::create_dir(&target).expect("the temporary directory can be written");
    let before = everything(root, &target);
    BUDGET.check(text.len(), || trees.iter().for_each(|tree| extract_to(tree, root, &target)));
    assert!(everything(root, &target) == before, "something outside of the target was changed");
});

fn extract_to(tree: &Tree, root: &Path, target: &Path) {
    let basedirs = Basedirs::open(&[root.join("objects")]).expect("the objects are there");
    let options = Options { owners: Owners::IfRoot, unverified: true, merge: true, threads: Some(NonZeroUsize::MIN) };
    let _ = extract(tree, &Selection::all(), &basedirs, target, &options, &NoProgress);
}

/// An object, a symlink out of the objects, and files that no extraction may change.
fn surroundings(root: &Path) -> std::io::Result<()> {
    let content = [b'o'; 100];
    let object = root.join("objects").join(verity::digest(Algorithm::Sha256, &content).object_path());
    fs::create_dir_all(object.parent().unwrap_or(root))?;
    fs::write(object, content)?;
    fs::write(root.join("objects/plain"), b"plain")?;
    symlink("../outside", root.join("objects/out"))?;
    fs::create_dir(root.join("outside"))?;
    fs::write(root.join("outside/file"), b"outside")?;
    fs::write(root.join("file"), b"beside the target")
}
