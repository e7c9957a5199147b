//! Two parties that publish the same configuration: neither loses what the other has added.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::pull::{PullError, PullOptions, PullProgress, PulledImage, pull};
use libcomposefs_oci::source::{DirectoryFiles, OciLayout};
use libcomposefs_oci::stored::{IMAGE_REF_V1, StoredImage, stream_name};
use libcomposefs_oci::stream::{ContentType, NamedRef, StreamKind, StreamReader, StreamWriter};
use libcomposefs_repo::{Format, GcOptions, Repository, RepositoryError, Settings, StreamTag};
use libcomposefs_testkit::oci;

const BOOT: &str = "composefs.image.boot.v1";

/// Runs a function each time that the image is about to be published.
struct BeforePublishing<F>(Mutex<F>);

impl<F: FnMut() + Send> PullProgress for BeforePublishing<F> {
    fn publish(&self) {
        (self.0.lock().unwrap())();
    }
}

fn new_repository(path: &Path) -> Repository {
    let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::One };
    Repository::init(path, settings).unwrap().0
}

fn tag(name: &str) -> StreamTag {
    name.parse().unwrap()
}

/// Pulls a layout under its own name, with a function that runs before each attempt to publish.
fn pull_layout(repository: &Repository, layout: &Path, hook: impl FnMut() + Send) -> Result<PulledImage, PullError> {
    let source = OciLayout::new(DirectoryFiles::open(layout).unwrap(), "layout".to_owned(), None);
    let mut options = PullOptions::default();
    options.tags = vec![tag(layout.file_name().unwrap().to_str().unwrap())];
    pull(repository, &source, &options, &BeforePublishing(Mutex::new(hook)))
}

/// Adds a reference to the stream of a configuration, as another program does: what it has stays.
fn add_reference(repository: &Repository, config: &[u8], name: &str, digest: Digest) {
    let stream = stream_name(StreamKind::Config(BlobDigest::of(config)));
    let mut refs = match repository.stream(&stream).unwrap() {
        Some(object) => {
            let file = repository.read_object(&object, 1 << 20).unwrap();
            StreamReader::new(&file, repository.algorithm()).unwrap().refs().to_vec()
        }
        None => Vec::new(),
    };
    refs.push(NamedRef { name: name.to_owned(), digest });
    let mut transaction = repository.transaction().unwrap();
    let (object, _) = transaction.batch().put_bytes(config).unwrap();
    let mut writer = StreamWriter::new(repository.algorithm()).unwrap();
    writer.object(object, config.len() as u64).unwrap();
    let file = writer.finish(ContentType::CONFIG, &refs).unwrap();
    transaction.add_stream(stream, &file, vec![object, digest], Vec::new()).unwrap();
    transaction.commit().unwrap();
}

/// The names of the images that an image of the repository has.
fn image_names(repository: &Repository, name: &str) -> Vec<(String, Digest)> {
    let image = StoredImage::by_tag(repository, &tag(name)).unwrap();
    image.images.into_iter().map(|image| (image.name, image.digest)).collect()
}

fn config_of(layout: &Path) -> Vec<u8> {
    let blobs = std::fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let mut texts = blobs.map(|blob| std::fs::read(blob.unwrap().path()).unwrap());
    texts.find(|text| text.starts_with(b"{") && text.windows(8).any(|word| word == b"\"rootfs\"")).unwrap()
}

#[test]
fn a_reference_that_another_program_adds_meanwhile_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let layout = oci::unpack_layout("basic", directory.path());
    let other = oci::unpack_layout("three-layers", directory.path());
    let config = config_of(&layout);
    // The first pull finds no configuration, the second one its own.
    for has_one in [false, true] {
        let path = directory.path().join(format!("repository-{has_one}"));
        let repository = new_repository(&path);
        let boot = pull_layout(&repository, &other, || {}).unwrap().image;
        if has_one {
            pull_layout(&repository, &layout, || {}).unwrap();
        }
        let mut attempts = 0;
        let pulled = pull_layout(&repository, &layout, || {
            attempts += 1;
            if attempts == 1 {
                add_reference(&Repository::open(&path).unwrap(), &config, BOOT, boot);
            }
        });
        let image = pulled.unwrap().image;
        assert_eq!(attempts, 2);
        let expected = [(BOOT.to_owned(), boot), (IMAGE_REF_V1.to_owned(), image)];
        assert_eq!(image_names(&repository, "basic"), expected);
        // The image lives by this reference alone.
        repository.untag_stream(&tag("three-layers")).unwrap();
        repository.gc(GcOptions { dry_run: false, grace: Duration::ZERO }).unwrap();
        assert!(repository.has_image(&boot).unwrap());
        assert_eq!(image_names(&repository, "basic"), expected);
    }
}

#[test]
fn an_undisturbed_pull_publishes_once() {
    let directory = tempfile::tempdir().unwrap();
    let layout = oci::unpack_layout("basic", directory.path());
    let repository = new_repository(&directory.path().join("repository"));
    for _ in 0..2 {
        let mut attempts = 0;
        let image = pull_layout(&repository, &layout, || attempts += 1).unwrap().image;
        assert_eq!(attempts, 1);
        assert_eq!(image_names(&repository, "basic"), [(IMAGE_REF_V1.to_owned(), image)]);
    }
}

#[test]
fn a_configuration_that_changes_each_time_ends_the_pull_without_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let layout = oci::unpack_layout("basic", directory.path());
    let other = oci::unpack_layout("three-layers", directory.path());
    let config = config_of(&layout);
    let path = directory.path().join("repository");
    let repository = new_repository(&path);
    let boot = pull_layout(&repository, &other, || {}).unwrap().image;
    let mut attempts = 0;
    let error = pull_layout(&repository, &layout, || {
        attempts += 1;
        add_reference(&Repository::open(&path).unwrap(), &config, &format!("{BOOT}.{attempts}"), boot);
    });
    assert!(matches!(error, Err(PullError::Repository(RepositoryError::StreamChanged { .. }))), "{error:?}");
    assert_eq!(repository.resolve_stream_tag(&tag("basic")).unwrap(), None);
    pull_layout(&repository, &layout, || {}).unwrap();
    assert_eq!(image_names(&repository, "basic").len(), attempts + 1);
}
