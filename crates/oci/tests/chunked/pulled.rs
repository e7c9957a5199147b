//! Pulls of images whose layers are fetched in parts, by `pull` as a whole: the source is a registry in memory.

use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use libcomposefs_image::Algorithm;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::manifest::BlobRef;
use libcomposefs_oci::pull::{LayerOutcome, NoPullProgress, PullOptions, PullWarning, PulledImage, pull};
use libcomposefs_oci::source::{BlobParts, ImageSource, RootDocument, SourceError};
use libcomposefs_oci::zstd_chunked::table::{self, ContentPlace, ContentTable};
use libcomposefs_oci::zstd_chunked::{ByteRange, RangeFetcher};
use libcomposefs_repo::{Format, GcOptions, Repository, Settings};
use libcomposefs_testkit::numbers::noise;
use serde_json::json;

use super::sections;
use super::writer::{self, WrittenFile, WrittenLayer};

/// The way in which the registry answers requests for ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Ranges,
    /// The first of several ranges only.
    SingleRanges,
    /// The whole blob, with status 200.
    WholeBody,
    /// The ranges are outside the blob, with status 416.
    Unsatisfiable,
    /// Other bytes.
    Wrong,
    /// The connection is cut.
    Cut,
}

/// A registry with one image of one layer.
struct MemoryRegistry {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
    answers: Answers,
    log: Mutex<RequestLog>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RequestLog {
    requests: u64,
    /// Bytes of parts.
    bytes: u64,
    whole: u64,
}

impl MemoryRegistry {
    fn new(layer: &WrittenLayer, answers: Answers) -> Self {
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [layer.diff_id.to_string()] },
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": BlobDigest::of(&config).to_string(), "size": config.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
                "digest": BlobDigest::of(&layer.blob).to_string(), "size": layer.blob.len(),
                "annotations": layer.annotations,
            }],
        });
        let manifest = manifest.to_string().into_bytes();
        Self { manifest, config, layer: layer.blob.clone(), answers, log: Mutex::default() }
    }

    fn log(&self) -> RequestLog {
        *self.log.lock().unwrap()
    }
}

impl ImageSource for MemoryRegistry {
    fn describe(&self) -> String {
        "memory".to_owned()
    }

    fn root(&self) -> Result<RootDocument, SourceError> {
        Ok(RootDocument { raw: self.manifest.clone(), media_type: None, digest: None })
    }

    fn manifest(&self, _: &BlobRef) -> Result<Vec<u8>, SourceError> {
        unreachable!("there is no index")
    }

    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        if blob.digest == BlobDigest::of(&self.config) {
            return Ok(Box::new(&self.config[..]));
        }
        self.log.lock().unwrap().whole += 1;
        Ok(Box::new(&self.layer[..]))
    }

    fn parts(&self, _: &BlobRef) -> Option<Box<dyn BlobParts + '_>> {
        Some(Box::new(MemoryParts { registry: self, body: None, is_single: false }))
    }

    fn is_remote(&self) -> bool {
        true
    }
}

struct MemoryParts<'r> {
    registry: &'r MemoryRegistry,
    body: Option<Vec<u8>>,
    is_single: bool,
}

impl RangeFetcher for MemoryParts<'_> {
    fn ranges_per_request(&self) -> usize {
        if self.is_single { 1 } else { 64 }
    }

    fn fetch<'f>(&'f mut self, requests: &'f [Vec<ByteRange>]) -> io::Result<Box<dyn Read + 'f>> {
        let mut log = self.registry.log.lock().unwrap();
        let ranges: Vec<ByteRange> = requests.iter().flatten().copied().collect();
        log.requests += requests.len() as u64;
        log.bytes += ranges.iter().map(|range| range.len()).sum::<u64>();
        let is_toc = !self.is_single && log.requests == 1;
        match self.registry.answers {
            Answers::SingleRanges if is_toc => {
                log.requests += 1;
                self.is_single = true;
            }
            Answers::SingleRanges => assert!(requests.iter().all(|request| request.len() == 1)),
            Answers::Ranges => {}
            Answers::WholeBody => {
                self.body = Some(self.registry.layer.clone());
                return Err(io::ErrorKind::InvalidData.into());
            }
            Answers::Unsatisfiable => return Err(io::Error::new(io::ErrorKind::InvalidData, "HTTP 416")),
            Answers::Cut if !is_toc => return Err(io::Error::other("the connection is cut")),
            Answers::Wrong | Answers::Cut => {}
        }
        let mut bytes = Vec::new();
        for range in ranges {
            bytes.extend_from_slice(&self.registry.layer[range.start as usize..range.end as usize]);
        }
        if self.registry.answers == Answers::Wrong && !is_toc {
            bytes[20] ^= 1;
        }
        Ok(Box::new(Cursor::new(bytes)))
    }
}

impl BlobParts for MemoryParts<'_> {
    fn take_whole(&mut self) -> Option<Box<dyn Read + Send>> {
        self.body.take().map(|body| Box::new(Cursor::new(body)) as Box<dyn Read + Send>)
    }
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::One };
        Repository::init(&dir.path().join("repo"), settings).unwrap();
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    fn pull(&self, registry: &MemoryRegistry) -> PulledImage {
        self.pull_with(registry, &PullOptions::default())
    }

    fn pull_with(&self, registry: &MemoryRegistry, options: &PullOptions) -> PulledImage {
        let repository = Repository::open(&self.path()).unwrap();
        let mut options = options.clone();
        options.tags = vec!["image".parse().unwrap()];
        pull(&repository, registry, &options, &NoPullProgress).unwrap()
    }

    fn table(&self) -> ContentTable {
        let cache = Repository::open(&self.path()).unwrap().cache().unwrap().unwrap();
        table::load(&cache, Algorithm::Sha256).unwrap()
    }

    fn set_table(&self, table: &ContentTable) {
        let cache = Repository::open(&self.path()).unwrap().make_cache().unwrap();
        table::save(&std::sync::Arc::new(cache), table).unwrap();
    }
}

/// Returns the files of a layer; those of the numbers have another content in each version.
fn version(changed: &[usize], version: u64) -> Vec<WrittenFile> {
    let content = |number: usize| {
        let seed = if changed.contains(&number) { 1_000_000 * version + number as u64 } else { number as u64 };
        // Some are so short that they become no objects.
        noise(seed, if number.is_multiple_of(10) { 20 + number % 40 } else { 100 + number * 7919 % 2999 })
    };
    (0..1000).map(|number| (format!("usr/{number}"), vec![content(number)])).collect()
}

fn changed() -> Vec<usize> {
    (0..10).map(|place| place * 97 + 3).collect()
}

/// Pulls an image, and then an update whose registry answers in this way. Returns both results.
fn update(answers: Answers) -> (Place, WrittenLayer, MemoryRegistry, PulledImage) {
    let place = Place::new();
    let first = MemoryRegistry::new(&writer::write(&version(&changed(), 1)), Answers::Ranges);
    let pulled = place.pull(&first);
    assert_eq!(pulled.layers[0].outcome, LayerOutcome::Pulled);
    // Nothing is here, so that nothing is asked for but the blob.
    assert_eq!(first.log(), RequestLog { requests: 0, bytes: 0, whole: 1 });
    let layer = writer::write(&version(&changed(), 2));
    let registry = MemoryRegistry::new(&layer, answers);
    let pulled = place.pull(&registry);
    (place, layer, registry, pulled)
}

/// Returns the image that a pull of the whole blob gives in another repository.
fn expected(layer: &WrittenLayer) -> libcomposefs_image::Digest {
    Place::new().pull(&MemoryRegistry::new(layer, Answers::Unsatisfiable)).image
}

#[test]
fn an_update_fetches_what_is_new() {
    for (answers, requests) in [(Answers::Ranges, 2), (Answers::SingleRanges, 12)] {
        let (place, layer, registry, pulled) = update(answers);
        let LayerOutcome::Partial { fetched, reused } = pulled.layers[0].outcome else { panic!("{pulled:?}") };
        let log = registry.log();
        let new: usize = changed().iter().map(|number| version(&[], 1)[*number].1[0].len() + 20).sum();
        assert_eq!((log.whole, log.bytes), (0, fetched));
        assert!(log.requests <= requests, "{log:?}");
        assert!(fetched < sections(&layer.positions().unwrap().unwrap()) + new as u64, "{fetched} {new}");
        assert!(reused > 1_000_000, "{reused}");
        assert_eq!(pulled.image, expected(&layer));
        assert!(pulled.warnings.is_empty(), "{:?}", pulled.warnings);
        // It is here, and nothing is fetched any more.
        let again = place.pull(&registry);
        assert_eq!(again.layers[0].outcome, LayerOutcome::Present);
        assert_eq!(registry.log(), log);
    }
}

#[test]
fn the_table_is_complete_after_a_partial_pull_too() {
    let (place, ..) = update(Answers::Ranges);
    let layer = writer::write(&version(&[5], 3));
    let registry = MemoryRegistry::new(&layer, Answers::Ranges);
    let pulled = place.pull(&registry);
    let LayerOutcome::Partial { fetched, .. } = pulled.layers[0].outcome else { panic!("{pulled:?}") };
    // The file, and those that have the content of neither version before.
    let most = sections(&layer.positions().unwrap().unwrap()) + 11 * 3100;
    assert!(fetched < most, "{fetched} {most}");
    assert_eq!(pulled.image, expected(&layer));
}

#[test]
fn a_server_without_ranges_gets_one_request_for_all() {
    let (_, layer, registry, pulled) = update(Answers::WholeBody);
    assert_eq!(pulled.layers[0].outcome, LayerOutcome::Pulled);
    let log = registry.log();
    // The body of the first answer is the blob.
    assert_eq!((log.requests, log.whole), (1, 0));
    assert_eq!(pulled.image, expected(&layer));
    assert!(pulled.warnings.is_empty(), "{:?}", pulled.warnings);
}

#[test]
fn wrong_parts_lead_to_a_pull_of_the_whole_blob() {
    for answers in [Answers::Unsatisfiable, Answers::Wrong] {
        let (_, layer, registry, pulled) = update(answers);
        assert_eq!(pulled.layers[0].outcome, LayerOutcome::Pulled, "{answers:?}");
        assert_eq!(registry.log().whole, 1, "{answers:?}");
        assert_eq!(pulled.image, expected(&layer), "{answers:?}");
        assert!(matches!(&pulled.warnings[..], [PullWarning::NotPartial { .. }]), "{:?}", pulled.warnings);
    }
}

#[test]
fn a_cut_connection_ends_the_pull() {
    let place = Place::new();
    place.pull(&MemoryRegistry::new(&writer::write(&version(&changed(), 1)), Answers::Ranges));
    let registry = MemoryRegistry::new(&writer::write(&version(&changed(), 2)), Answers::Cut);
    let repository = Repository::open(&place.path()).unwrap();
    let error = pull(&repository, &registry, &PullOptions::default(), &NoPullProgress).unwrap_err();
    assert!(error.to_string().contains("the connection is cut"), "{error}");
    assert_eq!(registry.log().whole, 0);
}

#[test]
fn whole_blobs_can_be_demanded() {
    let place = Place::new();
    place.pull(&MemoryRegistry::new(&writer::write(&version(&changed(), 1)), Answers::Ranges));
    let registry = MemoryRegistry::new(&writer::write(&version(&changed(), 2)), Answers::Ranges);
    let mut options = PullOptions::default();
    options.whole = true;
    let pulled = place.pull_with(&registry, &options);
    assert_eq!(pulled.layers[0].outcome, LayerOutcome::Pulled);
    assert_eq!(registry.log(), RequestLog { requests: 0, bytes: 0, whole: 1 });
}

#[test]
fn a_table_that_lies_changes_nothing() {
    let place = Place::new();
    place.pull(&MemoryRegistry::new(&writer::write(&version(&changed(), 1)), Answers::Ranges));
    let honest = place.table();
    let layer = writer::write(&version(&changed(), 2));
    // Each content leads to the object of another one of the same length, or to other bytes.
    let mut hostile = ContentTable::new(Algorithm::Sha256);
    let toc: Vec<(BlobDigest, ContentPlace)> = version(&changed(), 2)
        .iter()
        .map(|(_, chunks)| BlobDigest::of(&chunks[0]))
        .filter_map(|digest| Some((digest, honest.get(&digest)?)))
        .collect();
    for (number, (digest, place)) in toc.iter().enumerate() {
        let wrong = match place {
            ContentPlace::Inline(bytes) => ContentPlace::Inline(vec![7; bytes.len()]),
            ContentPlace::Object { size, .. } => match &toc[(number + 1) % toc.len()].1 {
                ContentPlace::Object { object, .. } => ContentPlace::Object { object: *object, offset: 0, size: *size },
                ContentPlace::Inline(_) => continue,
            },
        };
        hostile.insert(*digest, wrong);
    }
    assert!(hostile.len() > 700, "{}", hostile.len());
    place.set_table(&hostile);
    let registry = MemoryRegistry::new(&layer, Answers::Ranges);
    let pulled = place.pull(&registry);
    assert_eq!(pulled.image, expected(&layer));
    assert!(place.table().len() >= 1000);
}

#[test]
fn a_repository_without_its_cache_is_whole() {
    let place = Place::new();
    let layer = writer::write(&version(&changed(), 1));
    place.pull(&MemoryRegistry::new(&layer, Answers::Ranges));
    std::fs::remove_dir_all(place.path().join("cache")).unwrap();
    let registry = MemoryRegistry::new(&layer, Answers::Ranges);
    assert_eq!(place.pull(&registry).layers[0].outcome, LayerOutcome::Present);
    assert!(!Path::new(&place.path().join("cache")).exists());
}

#[test]
fn a_gc_prunes_the_table() {
    let place = Place::new();
    place.pull(&MemoryRegistry::new(&writer::write(&version(&changed(), 1)), Answers::Ranges));
    place.pull(&MemoryRegistry::new(&writer::write(&version(&changed(), 2)), Answers::Ranges));
    let before = place.table().len();
    let repository = Repository::open(&place.path()).unwrap();
    let report = repository.gc(GcOptions { dry_run: false, grace: std::time::Duration::ZERO }).unwrap();
    assert!(report.removed_objects >= 10, "{report:?}");
    table::prune(&repository).unwrap();
    // The first version of the files that have changed, less a short one, which is in the table itself.
    assert_eq!(place.table().len(), before - 9);
    table::prune(&repository).unwrap();
    assert_eq!(place.table().len(), before - 9);
}

#[test]
fn two_processes_may_complete_the_table_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let directory = std::sync::Arc::new(std::fs::File::open(dir.path()).unwrap().into());
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let directory = &directory;
            scope.spawn(move || {
                for number in 0..20u64 {
                    let content = (thread * 100 + number).to_le_bytes();
                    let place = ContentPlace::Inline(content.to_vec());
                    let change = |table: &mut ContentTable| {
                        table.insert(BlobDigest::of(&content), place);
                        true
                    };
                    table::update(directory, Algorithm::Sha256, change).unwrap();
                }
            });
        }
    });
    assert_eq!(table::load(&directory, Algorithm::Sha256).unwrap().len(), 80);
}
