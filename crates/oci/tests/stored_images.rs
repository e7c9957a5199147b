//! Images of a repository that were changed there: composefs images that the layers do not give, and lost documents.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libcomposefs_image::tree::Tree;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_oci::check_images::{ImageCheck, check_images};
use libcomposefs_oci::pull::{LayerStreams, NoPullProgress, PullOptions, PulledImage, pull};
use libcomposefs_oci::source::{DirectoryFiles, OciLayout};
use libcomposefs_oci::stored::{StoredImage, stream_name};
use libcomposefs_oci::stored_layer_images::stored_layer_images;
use libcomposefs_oci::stream::{ContentType, NamedRef, StreamKind, StreamWriter};
use libcomposefs_repo::{Format, GcOptions, Repository, Settings};
use libcomposefs_testkit::oci;

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

    /// Pulls an image, with images of its layers, each of which has one file with this text.
    fn pull(&self, name: &str, layers: &[(&str, &str)]) -> PulledImage {
        let layout = self.dir.path().join(name);
        let archives = layers.iter().map(|(path, text)| archive(path, text));
        let layers: Vec<_> = archives.map(|archive| (archive.clone(), archive)).collect();
        oci::write_layout(&layout, "layer.v1.tar", &layers);
        let source = OciLayout::new(DirectoryFiles::open(&layout).unwrap(), name.into(), None);
        let mut options = PullOptions::default();
        (options.per_layer, options.tags) = (true, vec![name.parse().unwrap()]);
        pull(&self.repository, &source, &options, &NoPullProgress).unwrap()
    }

    fn stored(&self, name: &str) -> StoredImage {
        StoredImage::by_tag(&self.repository, &name.parse().unwrap()).unwrap()
    }

    fn checked(&self, name: &str) -> Vec<(String, ImageCheck)> {
        let checked = check_images(&self.repository, &self.stored(name), None).unwrap();
        checked.into_iter().map(|checked| (checked.name, checked.found)).collect()
    }

    /// Replaces streams by others with these references, and the content of the object if there is one.
    fn replace(&self, streams: &[(StreamKind, ContentType, &[u8], Vec<NamedRef>)]) -> Vec<Digest> {
        let mut transaction = self.repository.transaction().unwrap();
        let mut made = Vec::new();
        for (kind, content_type, content, refs) in streams {
            let mut stream = StreamWriter::new(Algorithm::Sha256).unwrap();
            if !content.is_empty() {
                let (object, _) = transaction.batch().put_bytes(content).unwrap();
                stream.object(object, content.len() as u64).unwrap();
            }
            let file = stream.finish(*content_type, refs).unwrap();
            made.push(transaction.add_stream(stream_name(*kind), &file, Vec::new(), Vec::new()).unwrap());
        }
        transaction.commit().unwrap();
        made
    }

    fn gc(&self) -> libcomposefs_repo::GcReport {
        self.repository.gc(GcOptions { dry_run: false, grace: Duration::ZERO }).unwrap()
    }

    fn text_of(&self, stream: StreamKind) -> PathBuf {
        let digest = self.repository.stream(&stream_name(stream)).unwrap().unwrap();
        let file = self.repository.read_object(&digest, 1 << 20).unwrap();
        let stream = libcomposefs_oci::stream::StreamReader::new(&file, Algorithm::Sha256).unwrap();
        self.repository.objects().path_of(&stream.objects()[0])
    }
}

fn archive(path: &str, text: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, text).unwrap();
    let output = Command::new("tar").args(["--mtime=@1", "-cf-", "-C"]).arg(dir.path()).arg("usr").output().unwrap();
    assert!(output.status.success());
    output.stdout
}

const LAYERS: [(&str, &str); 3] = [("usr/one", "1"), ("usr/two", "2"), ("usr/.wh.one", "")];

fn tree_text(tree: &Tree) -> String {
    let mut text = Vec::new();
    libcomposefs_image::dump::emit(tree, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn the_images_of_the_layers_are_what_overlayfs_needs() {
    let place = Place::new();
    let pulled = place.pull("image", &LAYERS);
    let image = place.stored("image");
    let layers = stored_layer_images(&place.repository, &image).unwrap().unwrap();
    assert_eq!(pulled.layer_images.as_ref(), Some(&layers));
    assert!(layers.iter().all(|digest| place.repository.has_image(digest).unwrap()));
    let trees = LayerStreams::open(&place.repository, &image).unwrap().layer_trees(&PullOptions::default()).unwrap();
    let paths = |tree: &Tree| -> Vec<String> {
        tree_text(tree).lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(paths(&trees[0]), ["/", "/usr", "/usr/one"]);
    assert_eq!(paths(&trees[1]), ["/", "/usr", "/usr/two"]);
    assert_eq!(paths(&trees[2]), ["/", "/usr", "/usr/one"]);
    assert!(trees[2].has_whiteout() && !trees[1].has_whiteout());
    // The same lower layers give the same images.
    let other = place.pull("other", &LAYERS[..2]);
    assert_eq!(other.layer_images.unwrap(), layers[..2]);
    // Of one layer, the image is that of the whole.
    let only = place.pull("only", &LAYERS[..1]);
    assert_eq!(only.layer_images.unwrap(), [only.image]);
}

#[test]
fn another_image_under_the_name_is_found() {
    let place = Place::new();
    let (pulled, other) = (place.pull("image", &LAYERS), place.pull("other", &[("usr/other", "3")]));
    let names = ["composefs.image.v1", "layer 1", "layer 2", "layer 3"];
    let right: Vec<_> = names.map(|name| (name.to_owned(), ImageCheck::Right)).into();
    assert_eq!(place.checked("image"), right);

    let image = place.stored("image");
    let layers: Vec<NamedRef> = image
        .config
        .diff_ids
        .iter()
        .map(|diff_id| {
            let digest = place.repository.stream(&stream_name(StreamKind::Layer(*diff_id))).unwrap().unwrap();
            NamedRef { name: diff_id.to_string(), digest }
        })
        .collect();
    let wrong = NamedRef { name: names[0].to_owned(), digest: other.image };
    let refs: Vec<_> = layers.iter().cloned().chain([wrong]).collect();
    let config = (StreamKind::Config(pulled.config), ContentType::CONFIG, &image.config.raw[..], refs);
    let config = place.replace(&[config])[0];
    let config = NamedRef { name: format!("config:{}", pulled.config), digest: config };
    let refs = [config].into_iter().chain(layers).collect();
    place.replace(&[(StreamKind::Manifest(pulled.manifest), ContentType::MANIFEST, &image.manifest.raw, refs)]);
    let mut expected = right.clone();
    expected[0].1 = ImageCheck::Other(pulled.image);
    assert_eq!(place.checked("image"), expected);
    let made = LayerStreams::open(&place.repository, &image).unwrap().tree(&PullOptions::default()).unwrap();
    assert_eq!(Format::One.plan(&made).unwrap().digest(Algorithm::Sha256), pulled.image);

    // The second layer gets the image of another one.
    let images = pulled.layer_images.unwrap();
    let swapped = [images[0], images[2], images[2]];
    let refs = image.config.diff_ids.iter().zip(swapped).enumerate().map(|(number, (diff_id, digest))| NamedRef {
        name: format!("composefs.layer.{}:{diff_id}", number + 1),
        digest,
    });
    place.replace(&[(StreamKind::LayerImages(pulled.manifest), ContentType::LAYER_IMAGES, &[], refs.collect())]);
    expected[2].1 = ImageCheck::Other(images[1]);
    assert_eq!(place.checked("image"), expected);
    // References of another image are refused.
    let refs = vec![NamedRef { name: "composefs.layer.1:x".into(), digest: images[0] }];
    place.replace(&[(StreamKind::LayerImages(pulled.manifest), ContentType::LAYER_IMAGES, &[], refs)]);
    assert!(stored_layer_images(&place.repository, &image).unwrap_err().to_string().contains("pull the image again"));
}

#[test]
fn a_damaged_image_is_found() {
    let place = Place::new();
    let pulled = place.pull("image", &LAYERS);
    let layer = pulled.layer_images.unwrap()[0];
    fs::remove_file(place.repository.objects().path_of(&layer)).unwrap();
    let found = place.checked("image");
    assert!(matches!(&found[1].1, ImageCheck::Damaged(_)), "{found:?}");
    assert!(found.iter().enumerate().all(|(at, (_, found))| at == 1 || *found == ImageCheck::Right), "{found:?}");
}

/// The text of a manifest says which kept blobs, and which layers, it needs.
#[test]
fn a_manifest_without_its_text_keeps_everything() {
    for damage in [|path: &Path| fs::remove_file(path).unwrap(), |path: &Path| fs::write(path, "other").unwrap()] {
        let place = Place::new();
        let pulled = place.pull("image", &LAYERS);
        place.pull("gone", &[("usr/gone", "4")]);
        place.repository.untag_stream(&"gone".parse().unwrap()).unwrap();
        let text = place.text_of(StreamKind::Manifest(pulled.manifest));
        let whole = fs::read(&text).unwrap();
        fs::remove_file(&text).unwrap();
        fs::write(&text, &whole).unwrap();
        damage(&text);
        let report = place.gc();
        assert_eq!((report.removed_streams.len(), report.removed_objects), (0, 0), "{report:?}");
        let unclear: Vec<_> = report.unclear.iter().map(|entry| &entry.found).collect();
        assert!(unclear.iter().any(|entry| entry.contains(" text")), "{unclear:?}");
        // The twin: with its text, what has no name goes.
        fs::write(&text, &whole).unwrap();
        let report = place.gc();
        assert!(report.unclear.is_empty() && report.removed_streams.len() == 4, "{report:?}");
    }
}
