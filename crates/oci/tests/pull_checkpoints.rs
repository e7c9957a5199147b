//! Layers from a network get their names before the whole image is here, so that the next pull does not fetch them.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use libcomposefs_image::Algorithm;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::manifest::BlobRef;
use libcomposefs_oci::pull::{KeepBlobs, NoPullProgress, PullError, PullOptions, PulledImage, pull};
use libcomposefs_oci::source::{DirectoryFiles, ImageSource, OciLayout, RootDocument, SourceError};
use libcomposefs_oci::stored::stream_name;
use libcomposefs_oci::stream::StreamKind;
use libcomposefs_repo::{Format, Repository, Settings};
use libcomposefs_testkit::oci;
use serde_json::Value;

/// A layout that seems to be in a network, and whose last layer may wait for the first one, or fail.
struct RemoteLayout<'r> {
    layout: OciLayout<DirectoryFiles>,
    last: BlobDigest,
    before_last: &'r (dyn Fn() -> Result<(), SourceError> + Sync),
    is_remote: bool,
}

impl ImageSource for RemoteLayout<'_> {
    fn describe(&self) -> String {
        self.layout.describe()
    }

    fn root(&self) -> Result<RootDocument, SourceError> {
        self.layout.root()
    }

    fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError> {
        self.layout.manifest(blob)
    }

    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        if blob.digest == self.last {
            (self.before_last)()?;
        }
        self.layout.blob(blob)
    }

    fn is_remote(&self) -> bool {
        self.is_remote
    }
}

/// The digests of the last blob and of the first archive of a layout.
fn layers_of(layout: &Path) -> (BlobDigest, BlobDigest) {
    let blobs = std::fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let documents: Vec<Value> =
        blobs.filter_map(|blob| serde_json::from_slice(&std::fs::read(blob.unwrap().path()).unwrap()).ok()).collect();
    let list = |pointer| documents.iter().find_map(|document| document.pointer(pointer)?.as_array()).unwrap();
    let parse = |digest: &Value| digest.as_str().unwrap().parse().unwrap();
    (parse(&list("/layers").last().unwrap()["digest"]), parse(&list("/rootfs/diff_ids")[0]))
}

fn has_layer(repository: &Repository, diff_id: BlobDigest) -> bool {
    repository.stream(&stream_name(StreamKind::Layer(diff_id))).unwrap().is_some()
}

/// Pulls the layers one after the other, into a repository that is passed to `before_last` with the first diff ID.
fn pull_with(
    is_remote: bool,
    before_last: impl Fn(&Repository, BlobDigest) -> Result<(), SourceError> + Sync,
) -> (bool, Result<PulledImage, PullError>) {
    let directory = tempfile::tempdir().unwrap();
    let path = oci::unpack_layout("three-layers", directory.path());
    let (last, first) = layers_of(&path);
    let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::One };
    let (repository, _) = Repository::init(&directory.path().join("repository"), settings).unwrap();
    let other = Repository::open(repository.path()).unwrap();
    let before_last = || before_last(&other, first);
    let layout = OciLayout::new(DirectoryFiles::open(&path).unwrap(), "layout".to_owned(), None);
    let source = RemoteLayout { layout, last, before_last: &before_last, is_remote };
    let mut options = PullOptions::default();
    (options.parallel, options.keep_blobs) = (1, KeepBlobs::No);
    options.tags = vec!["three".parse().unwrap()];
    let result = pull(&repository, &source, &options, &NoPullProgress);
    (has_layer(&repository, first), result)
}

#[test]
fn a_complete_layer_gets_its_name_while_another_one_is_read() {
    let (is_there, result) = pull_with(true, |repository, first| {
        for _ in 0..3000 {
            if has_layer(repository, first) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the first layer has got no name");
    });
    result.unwrap();
    assert!(is_there);
}

#[test]
fn a_pull_that_fails_leaves_its_complete_layers() {
    let fail = |_: &Repository, _| Err(SourceError::NoImage("cut".to_owned()));
    let (is_there, result) = pull_with(true, fail);
    assert_eq!(result.unwrap_err().to_string(), "cut");
    assert!(is_there, "the next pull fetches the layer again");
    // Nothing is saved by that where no network is in between.
    let (is_there, result) = pull_with(false, fail);
    assert!(result.is_err() && !is_there);
}
