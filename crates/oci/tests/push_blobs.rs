//! A push reads the blobs of the repository while a gc works beside it, and names each missing blob once.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use libcomposefs_image::Algorithm;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::destination::{BlobContent, BlobOutcome, BlobPlace, DestinationError, ImageDestination};
use libcomposefs_oci::manifest::{ImageConfig, Manifest};
use libcomposefs_oci::pull::{KeepBlobs, NoPullProgress, PullOptions, pull};
use libcomposefs_oci::push::{NoPushProgress, PushError, PushOptions, push};
use libcomposefs_oci::source::{DirectoryFiles, OciLayout};
use libcomposefs_oci::stored::StoredImage;
use libcomposefs_repo::{Format, GcOptions, Repository, Settings};
use libcomposefs_testkit::oci;

/// A destination without blobs. Before it takes the first one, the image loses its name and a gc removes what it can.
struct CollectingDestination<'r> {
    /// The repository, and true once gc has run.
    collected: Mutex<(&'r Repository, bool)>,
    stored: Mutex<Vec<BlobDigest>>,
}

impl ImageDestination for CollectingDestination<'_> {
    fn describe(&self) -> String {
        "the destination".to_owned()
    }

    fn find(&self, _: &BlobDigest, _: u64) -> Result<BlobPlace, DestinationError> {
        Ok(BlobPlace::Missing)
    }

    fn put(
        &self,
        digest: &BlobDigest,
        size: u64,
        content: Option<&dyn BlobContent>,
    ) -> Result<BlobOutcome, DestinationError> {
        let mut collected = self.collected.lock().unwrap();
        if !std::mem::replace(&mut collected.1, true) {
            collected.0.untag_stream(&"image".parse().unwrap()).unwrap();
            collected.0.gc(GcOptions { dry_run: false, grace: Duration::ZERO }).unwrap();
        }
        let mut bytes = Vec::new();
        let read = content.unwrap().open().and_then(|mut blob| blob.read_to_end(&mut bytes));
        read.map_err(|source| DestinationError::Content { digest: *digest, source })?;
        assert_eq!((BlobDigest::of(&bytes), bytes.len() as u64), (*digest, size));
        self.stored.lock().unwrap().push(*digest);
        Ok(BlobOutcome::Sent)
    }

    fn publish(&self, _: &Manifest, _: &ImageConfig) -> Result<(), DestinationError> {
        Ok(())
    }
}

/// Pulls an image of three gzip layers.
fn pulled(dir: &Path, layout: &str, keep: KeepBlobs) -> (Repository, StoredImage) {
    let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::One };
    let (repository, _) = Repository::init(&dir.join("repo"), settings).unwrap();
    let layout = oci::unpack_layout(layout, dir);
    let source = OciLayout::new(DirectoryFiles::open(&layout).unwrap(), "layout".into(), None);
    let mut options = PullOptions::default();
    options.keep_blobs = keep;
    options.tags = vec!["image".parse().unwrap()];
    pull(&repository, &source, &options, &NoPullProgress).unwrap();
    let image = StoredImage::by_tag(&repository, &"image".parse().unwrap()).unwrap();
    (repository, image)
}

#[test]
fn gc_leaves_the_kept_blobs_of_a_push_alone() {
    for keep in [KeepBlobs::Whole, KeepBlobs::Record] {
        let dir = tempfile::tempdir().unwrap();
        let (repository, image) = pulled(dir.path(), "three-layers", keep);
        let other = Repository::open(&dir.path().join("repo")).unwrap();
        let destination = CollectingDestination { collected: Mutex::new((&other, false)), stored: Mutex::default() };
        push(&repository, &image, &destination, &PushOptions::new(dir.path().into()), &NoPushProgress).unwrap();
        assert_eq!(destination.stored.into_inner().unwrap().len(), 4, "three layers and the configuration");
        // Without the push all is removed.
        repository.gc(GcOptions { dry_run: false, grace: Duration::ZERO }).unwrap();
        let streams = fs::read_dir(dir.path().join("repo/streams")).unwrap();
        let left: Vec<_> = streams.map(|entry| entry.unwrap().file_name()).filter(|name| name != "refs").collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn a_missing_blob_is_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let (repository, image) = pulled(dir.path(), "layer-same-twice", KeepBlobs::No);
    let destination = CollectingDestination { collected: Mutex::new((&repository, false)), stored: Mutex::default() };
    let pushed = push(&repository, &image, &destination, &PushOptions::new(dir.path().into()), &NoPushProgress);
    let Err(PushError::Missing { layers, .. }) = pushed else { panic!("{pushed:?}") };
    let numbers: Vec<usize> = layers.iter().map(|layer| layer.number).collect();
    assert_eq!(numbers, [1, 2]);
    assert!(destination.stored.into_inner().unwrap().is_empty());
}
