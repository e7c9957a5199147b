//! Compressed blobs come back from a repository byte for byte, as long as an image names them.

use std::fs;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libcomposefs_image::Algorithm;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::blob::{BlobKind, blob_kind, open_blob};
use libcomposefs_oci::manifest::BlobRef;
use libcomposefs_oci::pull::{KeepBlobs, NoPullProgress, PullOptions, PulledImage, pull};
use libcomposefs_oci::source::{DirectoryFiles, ImageSource, OciLayout, RootDocument, SourceError};
use libcomposefs_repo::{Format, GcOptions, Repository, Settings};
use libcomposefs_testkit::oci;

/// An archive with one file of text that no other number has. That of number 3 is longer.
fn archive(number: u32) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("usr")).unwrap();
    let mut state = number;
    let line = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        format!("{} of {number}: {}\n", state >> 20, state >> 8 & 0xff)
    };
    let text: String = (0..if number == 3 { 30_000 } else { 6000 }).map(line).collect();
    fs::write(dir.path().join("usr/text"), text).unwrap();
    let output = Command::new("tar").args(["--mtime=@1", "-cf-", "-C"]).arg(dir.path()).arg("usr").output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn gzip(archive: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("gzip").args(["-n", "-6"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let archive = archive.to_vec();
    let thread = std::thread::spawn(move || stdin.write_all(&archive));
    let output = child.wait_with_output().unwrap();
    thread.join().unwrap().unwrap();
    output.stdout
}

/// zlib-rs at its lowest level, which no record imitates.
fn unknown_gzip(archive: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(archive).unwrap();
    encoder.finish().unwrap()
}

fn zstd(archive: &[u8]) -> Vec<u8> {
    zstd::encode_all(archive, 3).unwrap()
}

struct Place {
    dir: tempfile::TempDir,
    repository: Repository,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::One };
        let (repository, _) = Repository::init(&dir.path().join("repo"), settings).unwrap();
        Self { dir, repository }
    }

    fn pull(&self, layers: &[(Vec<u8>, Vec<u8>)], keep: KeepBlobs, tag: &str) -> PulledImage {
        let layout = self.dir.path().join(tag);
        oci::write_layout(&layout, "layer.v1.tar+gzip", layers);
        let source = OciLayout::new(DirectoryFiles::open(&layout).unwrap(), tag.into(), None);
        let mut options = PullOptions::default();
        options.keep_blobs = keep;
        options.tags = vec![tag.parse().unwrap()];
        let count = || self.repository.objects().list().count() as u64;
        let (before, image) = (count(), pull(&self.repository, &source, &options, &NoPullProgress).unwrap());
        assert_eq!(image.new_objects, count() - before);
        image
    }

    fn read(&self, image: &PulledImage, number: usize) -> Option<io::Result<Vec<u8>>> {
        let layer = &image.layers[number];
        let blob = open_blob(&self.repository, &layer.blob, &layer.diff_id).unwrap();
        blob.map(|mut blob| {
            let mut bytes = Vec::new();
            blob.read_to_end(&mut bytes).map(|_| bytes)
        })
    }

    fn gc(&self) -> Vec<String> {
        let options = GcOptions { dry_run: false, grace: Duration::ZERO };
        let report = self.repository.gc(options).unwrap();
        assert!(report.unclear.is_empty() && report.unreadable.is_empty(), "{report:?}");
        report.removed_streams
    }

    fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.dir.path().join("repo/streams").join(path)).is_ok()
    }
}

fn layers() -> Vec<(Vec<u8>, Vec<u8>)> {
    let [a, b, c, d] = [1, 2, 3, 4].map(archive);
    vec![(a.clone(), a), (b.clone(), gzip(&b)), (c.clone(), unknown_gzip(&c)), (d.clone(), zstd(&d))]
}

#[test]
fn blobs_of_each_kind_come_back() {
    let layers = layers();
    for keep in [KeepBlobs::Record, KeepBlobs::Whole] {
        let place = Place::new();
        let image = place.pull(&layers, keep, "image");
        for (number, (_, blob)) in layers.iter().enumerate() {
            let layer = &image.layers[number];
            let kind = layer.blob_kind;
            let is_right = match number {
                0 => kind == BlobKind::Exact,
                1 if keep == KeepBlobs::Record => {
                    matches!(kind, BlobKind::Rebuildable(bytes) if bytes < blob.len() as u64 / 10)
                }
                _ => kind == BlobKind::Whole(blob.len() as u64),
            };
            assert!(is_right, "layer {number}, {keep:?}: {kind:?}");
            assert!(place.read(&image, number).unwrap().unwrap() == *blob, "layer {number}, {keep:?}");
            assert_eq!(kind, blob_kind(&place.repository, &layer.blob, &layer.diff_id).unwrap());
        }
    }
}

#[test]
fn without_kept_blobs_only_the_archive_comes_back_until_they_are_kept() {
    let (place, layers) = (Place::new(), layers());
    let image = place.pull(&layers, KeepBlobs::No, "image");
    for (number, layer) in image.layers.iter().enumerate() {
        assert_eq!(layer.blob_kind, if number == 0 { BlobKind::Exact } else { BlobKind::None });
        assert_eq!(place.read(&image, number).is_some(), number == 0);
    }
    // The layers are here, and the blobs are read again.
    let image = place.pull(&layers, KeepBlobs::Record, "image");
    for (number, (_, blob)) in layers.iter().enumerate() {
        assert!(place.read(&image, number).unwrap().unwrap() == *blob, "layer {number}");
    }
}

#[test]
fn two_blobs_of_one_archive_both_come_back() {
    let place = Place::new();
    let archive = archive(1);
    let first = [(archive.clone(), gzip(&archive))];
    let second = [(archive.clone(), unknown_gzip(&archive))];
    let one = place.pull(&first, KeepBlobs::Record, "one");
    let two = place.pull(&second, KeepBlobs::Record, "two");
    assert!(place.read(&one, 0).unwrap().unwrap() == first[0].1);
    assert!(place.read(&two, 0).unwrap().unwrap() == second[0].1);
}

#[test]
fn the_last_read_of_another_blob_fails() {
    let [a, b] = [1, 2].map(archive);
    let layers = [(a.clone(), gzip(&a)), (b.clone(), gzip(&b))];
    for keep in [KeepBlobs::Whole, KeepBlobs::Record] {
        another_blob_fails(&layers, keep);
    }
}

fn another_blob_fails(layers: &[(Vec<u8>, Vec<u8>)], keep: KeepBlobs) {
    let place = Place::new();
    let image = place.pull(layers, keep, "image");
    let path = |number: usize| {
        place.dir.path().join("repo/streams").join(format!("composefs-blob-{}", image.layers[number].blob.digest))
    };
    assert!(place.read(&image, 0).unwrap().is_ok());
    fs::remove_file(path(0)).unwrap();
    std::os::unix::fs::symlink(fs::read_link(path(1)).unwrap(), path(0)).unwrap();
    let layer = &image.layers[0];
    let error = match open_blob(&place.repository, &layer.blob, &layer.diff_id) {
        Ok(blob) => io::copy(&mut blob.unwrap(), &mut io::sink()).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("pull the image again"), "{error}");
}

#[test]
fn kept_blobs_live_as_long_as_a_manifest_that_names_them() {
    let place = Place::new();
    let [a, b] = [1, 2].map(archive);
    let (shared, other) = ((a.clone(), gzip(&a)), (b.clone(), unknown_gzip(&b)));
    let one = place.pull(&[shared.clone(), other.clone()], KeepBlobs::Record, "one");
    let two = place.pull(std::slice::from_ref(&shared), KeepBlobs::Record, "two");
    let names = |blob: &[u8]| {
        let digest = BlobDigest::of(blob);
        [format!("composefs-blob-{digest}"), format!("refs/composefs-blobs/{digest}")]
    };
    let ([shared_stream, shared_name], [other_stream, other_name]) = (names(&shared.1), names(&other.1));
    let all = [&shared_stream, &shared_name, &other_stream, &other_name];
    assert!(place.gc().is_empty());
    assert!(all.iter().all(|path| place.has(path)));

    place.repository.untag_stream(&"one".parse().unwrap()).unwrap();
    let removed = place.gc();
    assert!(removed.contains(&other_stream) && !removed.contains(&shared_stream), "{removed:?}");
    assert_eq!(all.map(|path| place.has(path)), [true, true, false, false]);
    assert!(place.read(&two, 0).unwrap().unwrap() == shared.1);
    assert!(place.read(&one, 1).is_none());

    place.repository.untag_stream(&"two".parse().unwrap()).unwrap();
    assert!(place.gc().contains(&shared_stream));
    assert_eq!(all.map(|path| place.has(path)), [false; 4]);
    let objects = place.repository.objects().list().count();
    assert_eq!(objects, 0, "{objects} objects are left");
}

/// A source behind a network, whose first reads of a blob give a single byte. It counts the blobs that are fetched.
struct SlowSource<S>(S, AtomicUsize);

impl<S: ImageSource> ImageSource for SlowSource<S> {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn root(&self) -> Result<RootDocument, SourceError> {
        self.0.root()
    }

    fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError> {
        self.0.manifest(blob)
    }

    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(SlowStart { input: self.0.blob(blob)?, slow: 5 }))
    }

    fn is_remote(&self) -> bool {
        true
    }
}

fn slow_source(layout: &Path, name: &str) -> SlowSource<impl ImageSource + use<>> {
    SlowSource(OciLayout::new(DirectoryFiles::open(layout).unwrap(), name.into(), None), AtomicUsize::new(0))
}

struct SlowStart<R> {
    input: R,
    /// Number of reads that give a single byte.
    slow: usize,
}

impl<R: Read> Read for SlowStart<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = if self.slow > 0 { buffer.len().min(1) } else { buffer.len() };
        self.slow = self.slow.saturating_sub(1);
        self.input.read(&mut buffer[..len])
    }
}

#[test]
fn the_kind_of_a_blob_does_not_depend_on_the_length_of_reads() {
    let (place, layers) = (Place::new(), layers());
    let layout = place.dir.path().join("slow");
    oci::write_layout(&layout, "layer.v1.tar+gzip", &layers);
    let source = slow_source(&layout, "slow");
    let mut options = PullOptions::default();
    options.tags = vec!["slow".parse().unwrap()];
    options.keep_blobs = KeepBlobs::Record;
    let new = pull(&place.repository, &source, &options, &NoPullProgress).unwrap();
    // The configuration and each layer once, also those without a record.
    assert_eq!(source.1.load(Ordering::Relaxed), 1 + layers.len());
    let other = Place::new().pull(&layers, KeepBlobs::Record, "image");
    for (number, (_, blob)) in layers.iter().enumerate() {
        assert_eq!(new.layers[number].blob_kind, other.layers[number].blob_kind, "layer {number}");
        assert!(place.read(&new, number).unwrap().unwrap() == *blob, "layer {number}");
    }
}

#[test]
fn a_damaged_source_is_not_taken_for_a_damaged_repository() {
    let (place, archive) = (Place::new(), archive(1));
    let layers = [(archive.clone(), gzip(&archive))];
    place.pull(&layers, KeepBlobs::No, "image");
    let layout = place.dir.path().join("image");
    let digest = BlobDigest::of(&layers[0].1).to_string();
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    let mut blob = layers[0].1.clone();
    let middle = blob.len() / 2;
    blob[middle] ^= 1;
    fs::write(&path, blob).unwrap();
    let again = || {
        let source = OciLayout::new(DirectoryFiles::open(&layout).unwrap(), "image".into(), None);
        let mut options = PullOptions::default();
        options.keep_blobs = KeepBlobs::Record;
        pull(&place.repository, &source, &options, &NoPullProgress)
    };
    let error = again().unwrap_err().to_string();
    assert!(error.contains("source is damaged") && !error.contains("repository is damaged"), "{error}");
    fs::write(&path, &layers[0].1).unwrap();
    assert!(matches!(again().unwrap().layers[0].blob_kind, BlobKind::Rebuildable(_)));
}

#[test]
fn a_whole_pull_keeps_the_blobs_of_layers_that_are_here() {
    let (place, layers) = (Place::new(), layers());
    place.pull(&layers, KeepBlobs::No, "image");
    let layout = place.dir.path().join("image");
    let source = slow_source(&layout, "image");
    let mut options = PullOptions::default();
    options.tags = vec!["image".parse().unwrap()];
    // The blobs would have to be fetched.
    let image = pull(&place.repository, &source, &options, &NoPullProgress).unwrap();
    assert!(place.read(&image, 1).is_none());
    options.whole = true;
    let image = pull(&place.repository, &source, &options, &NoPullProgress).unwrap();
    for (number, (_, blob)) in layers.iter().enumerate() {
        assert!(place.read(&image, number).unwrap().unwrap() == *blob, "layer {number}");
    }
    assert!(place.gc().is_empty());
}

#[test]
fn the_next_pull_writes_a_missing_name_of_a_kept_blob() {
    let place = Place::new();
    let archive = archive(1);
    let layers = [(archive.clone(), gzip(&archive))];
    place.pull(&layers, KeepBlobs::Record, "image");
    let name = format!("refs/composefs-blobs/{}", BlobDigest::of(&layers[0].1));
    fs::remove_file(place.dir.path().join("repo/streams").join(&name)).unwrap();
    place.pull(&layers, KeepBlobs::Record, "image");
    assert!(place.has(&name));
}

#[test]
fn two_blobs_of_one_archive_in_one_image_both_come_back() {
    let archive = archive(1);
    let blobs = [gzip(&archive), unknown_gzip(&archive), archive.clone(), zstd(&archive)];
    let layers = blobs.map(|blob| (archive.clone(), blob));
    for keep in [KeepBlobs::Record, KeepBlobs::Whole] {
        let place = Place::new();
        let image = place.pull(&layers, keep, "image");
        place.gc();
        for (number, (_, blob)) in layers.iter().enumerate() {
            assert!(place.read(&image, number).unwrap().unwrap() == *blob, "layer {number}, {keep:?}");
        }
    }
}

#[test]
fn a_whole_blob_replaces_a_record_but_no_record_a_whole_blob() {
    let archive = archive(1);
    let layers = [(archive.clone(), gzip(&archive))];
    for is_remote in [false, true] {
        let place = Place::new();
        place.pull(&layers, KeepBlobs::Record, "image");
        let layout = place.dir.path().join("image");
        let mut options = PullOptions::default();
        options.tags = vec!["image".parse().unwrap()];
        for keep in [KeepBlobs::Whole, KeepBlobs::Record] {
            options.keep_blobs = keep;
            let image = if is_remote {
                let source = slow_source(&layout, "image");
                let image = pull(&place.repository, &source, &options, &NoPullProgress).unwrap();
                assert_eq!(source.1.load(Ordering::Relaxed), 1, "only the configuration is fetched");
                image
            } else {
                place.pull(&layers, keep, "image")
            };
            assert_eq!(image.layers[0].blob_kind, BlobKind::Whole(layers[0].1.len() as u64), "{keep:?}");
            assert!(place.read(&image, 0).unwrap().unwrap() == layers[0].1);
            place.gc();
            assert!(place.read(&image, 0).unwrap().unwrap() == layers[0].1);
        }
    }
}

#[test]
fn a_whole_blob_replaces_a_damaged_record() {
    let archive = archive(1);
    let layers = [(archive.clone(), gzip(&archive))];
    let place = Place::new();
    let image = place.pull(&layers, KeepBlobs::Record, "image");
    let BlobKind::Rebuildable(size) = image.layers[0].blob_kind else { panic!("{:?}", image.layers[0].blob_kind) };
    let path = object_of_size(&place, size);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let layer = &image.layers[0];
    assert!(open_blob(&place.repository, &layer.blob, &layer.diff_id).is_err());
    let layout = place.dir.path().join("image");
    let mut options = PullOptions::default();
    options.tags = vec!["image".parse().unwrap()];
    // The blob would have to be fetched.
    pull(&place.repository, &slow_source(&layout, "image"), &options, &NoPullProgress).unwrap();
    options.whole = true;
    let image = pull(&place.repository, &slow_source(&layout, "image"), &options, &NoPullProgress).unwrap();
    assert!(place.read(&image, 0).unwrap().unwrap() == layers[0].1);
}

/// Returns the path of the only object of this size.
fn object_of_size(place: &Place, size: u64) -> std::path::PathBuf {
    let has_size = |digest: &_| place.repository.object(digest).unwrap().size() == size;
    let hex = place.repository.objects().list().map(Result::unwrap).find(has_size).unwrap().to_hex();
    place.dir.path().join("repo/objects").join(&hex[..2]).join(&hex[2..])
}

#[test]
fn a_pull_keeps_a_blob_again_that_is_missing_or_damaged() {
    let archive = archive(1);
    let layers = [(archive.clone(), gzip(&archive))];
    for (keep, is_remote) in [(KeepBlobs::Whole, false), (KeepBlobs::Whole, true), (KeepBlobs::Record, false)] {
        for is_missing in [true, false] {
            let place = Place::new();
            let image = place.pull(&layers, keep, "image");
            let size = match image.layers[0].blob_kind {
                BlobKind::Whole(size) | BlobKind::Rebuildable(size) => size,
                other => panic!("{other:?}"),
            };
            let path = object_of_size(&place, size);
            let mut bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            if !is_missing {
                bytes[20] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
            let image = if is_remote {
                let mut options = PullOptions::default();
                options.tags = vec!["image".parse().unwrap()];
                let layout = place.dir.path().join("image");
                pull(&place.repository, &slow_source(&layout, "image"), &options, &NoPullProgress).unwrap()
            } else {
                place.pull(&layers, keep, "image")
            };
            let read = place.read(&image, 0).unwrap();
            assert!(read.unwrap() == layers[0].1, "{keep:?}, remote: {is_remote}, missing: {is_missing}");
        }
    }
}

/// Pulls a layout whose manifest was changed by a function.
fn pull_changed(
    place: &Place,
    layers: &[(Vec<u8>, Vec<u8>)],
    keep: KeepBlobs,
    change: impl FnOnce(&mut serde_json::Value),
) -> Result<PulledImage, String> {
    let layout = place.dir.path().join("changed");
    let _ = fs::remove_dir_all(&layout);
    oci::write_layout(&layout, "layer.v1.tar+gzip", layers);
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let mut index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    let text = fs::read(layout.join("blobs").join(digest)).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&text).unwrap();
    change(&mut manifest);
    let text = serde_json::to_vec(&manifest).unwrap();
    let digest = BlobDigest::of(&text).to_string();
    fs::write(layout.join("blobs").join(digest.replace(':', "/")), &text).unwrap();
    index["manifests"][0]["digest"] = digest.into();
    index["manifests"][0]["size"] = text.len().into();
    fs::write(layout.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    let source = OciLayout::new(DirectoryFiles::open(&layout).unwrap(), "changed".into(), None);
    let mut options = PullOptions::default();
    options.keep_blobs = keep;
    options.tags = vec!["changed".parse().unwrap()];
    pull(&place.repository, &source, &options, &NoPullProgress).map_err(|error| error.to_string())
}

#[test]
fn a_wrong_size_of_a_blob_that_is_here_is_refused() {
    let archive = archive(1);
    for (blob, keep) in
        [(gzip(&archive), KeepBlobs::Whole), (gzip(&archive), KeepBlobs::Record), (archive.clone(), KeepBlobs::No)]
    {
        let layers = [(archive.clone(), blob)];
        let place = Place::new();
        place.pull(&layers, keep, "image");
        for size in [10_u64, 1_000_000_000_000] {
            let refused = pull_changed(&place, &layers, keep, |manifest| manifest["layers"][0]["size"] = size.into());
            let error = refused.unwrap_err();
            assert!(error.contains("as its descriptor says") && error.contains(&size.to_string()), "{error}");
        }
        pull_changed(&place, &layers, keep, |_| {}).unwrap();
    }
}

#[test]
fn a_blob_of_another_layer_is_refused_although_the_layer_is_here() {
    let (one, two) = (archive(1), archive(2));
    for wrong in [gzip(&two), zstd(&two), two.clone(), b"no archive at all".to_vec()] {
        let place = Place::new();
        // Nothing was kept, so the blob is read now.
        place.pull(&[(one.clone(), gzip(&one))], KeepBlobs::No, "image");
        let error = pull_changed(&place, &[(one.clone(), wrong)], KeepBlobs::Whole, |_| {}).unwrap_err();
        assert!(error.contains("no archive of this layer"), "{error}");
        let image = pull_changed(&place, &[(one.clone(), gzip(&one))], KeepBlobs::Whole, |_| {}).unwrap();
        assert!(place.read(&image, 0).unwrap().unwrap() == gzip(&one));
    }
}
