//! A bundle that is cut off or changed at any byte publishes nothing, and leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcomposefs_content::NoProgress;
use libcomposefs_delta::Effort;
use libcomposefs_image::Digest;
use libcomposefs_repo::bundle::{FrameOptions, Have};
use libcomposefs_repo::{GcOptions, ImageName, ImportOptions, ObjectSource, RefName, Repository};
use libcomposefs_scan as scan;
use libcomposefs_testkit::scratch::directory_in_memory;
use libcomposefs_testkit::stats;

use crate::place::SETTINGS;

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// Returns every path below a repository except empty directories and the lock of the gc.
fn all_of(repo: &Path) -> BTreeSet<PathBuf> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![repo.to_owned()]);
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                waiting.push(path);
            } else if !path.ends_with("leases/gc.lock") {
                found.insert(path);
            }
        }
    }
    found
}

struct Receiver {
    repository: Repository,
    path: PathBuf,
    before: BTreeSet<PathBuf>,
}

impl Receiver {
    fn import(&self, bytes: &[u8]) -> Result<Vec<Digest>, String> {
        let options =
            ImportOptions { objects: ObjectSource::None, rewrite: false, threads: TWO, progress: &NoProgress };
        let imported = self.repository.import_bundle(bytes, Path::new("bundle"), &|_, names| names, &options);
        imported
            .map(|imported| imported.images.iter().map(|image| image.digest).collect())
            .map_err(|error| error.to_string())
    }

    /// Removes what an import has published.
    fn clear(&self) {
        for name in self.repository.refs().unwrap().good.into_iter().map(|(name, _)| name) {
            self.repository.untag(&name).unwrap();
        }
        self.repository.gc(GcOptions { dry_run: false, grace: Duration::ZERO }).unwrap();
    }

    #[track_caller]
    fn expect_nothing(&self, what: &str) {
        assert_eq!(all_of(&self.path), self.before, "{what}");
    }

    /// Every byte before `headers` matters; in the contents after them a sample is tested.
    fn expect_refused(&self, bundle: &[u8], headers: usize, image: Digest) {
        let interesting = |at: &usize| *at < headers || at.is_multiple_of(997) || bundle.len() - at < 40;
        let (mut cut, mut changed, mut harmless) = (0, 0, 0);
        for at in (0..bundle.len()).filter(interesting) {
            self.import(&bundle[..at]).unwrap_err();
            self.expect_nothing(&format!("cut at {at}"));
            cut += 1;
            let mut bytes = bundle.to_vec();
            bytes[at] ^= 1 << (at % 8);
            if let Ok(images) = self.import(&bytes) {
                // A changed name does not change a content.
                harmless += 1;
                assert_eq!(images, [image], "changed at {at}");
                self.clear();
            }
            self.expect_nothing(&format!("changed at {at}"));
            changed += 1;
        }
        stats::show(&format!("bundles: {cut} cut off, {changed} changed, {harmless} of these in a name only"));
        assert!(harmless > 0 && harmless < 20, "{harmless}");
        assert_eq!(self.import(bundle).unwrap(), [image]);
        self.clear();
    }
}

#[test]
fn a_damaged_bundle_leaves_nothing_behind() {
    let dir = directory_in_memory();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a"), [b'a'; 200]).unwrap();
    fs::write(tree.join("b"), [b'b'; 300]).unwrap();
    let (repository, _) = Repository::init(&dir.path().join("repo"), SETTINGS).unwrap();
    let name = RefName::new("image").unwrap();
    let image = repository.create(&tree, &scan::Options::default(), Some(&name), &NoProgress).unwrap().digest;
    let path = dir.path().join("receiver");
    let receiver = Receiver { repository: Repository::init(&path, SETTINGS).unwrap().0, before: all_of(&path), path };
    let (reader, names, have) = (repository.reader().unwrap(), [ImageName::Ref(name)], Have::default());
    let (mut whole, mut frames) = (Vec::new(), Vec::new());
    reader.export(&names, &[], &have, &mut whole, &NoProgress).unwrap();
    let options = FrameOptions::new(Effort::Default, TWO);
    reader.export_frames(&names, &[], &have, &options, &mut frames, &NoProgress).unwrap();
    receiver.expect_refused(&whole, 800, image);
    receiver.expect_refused(&frames, 300, image);
}
