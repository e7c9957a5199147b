//! Hostile documents of images, chosen by the first byte: `m` for a manifest or index, `c` for a configuration, `l` for
//! a layout: `index.json`, manifest and configuration, divided by NUL, where `%M` stands for the digest of the manifest
//! and `%C` for that of the configuration. `b` is for the description of an image in a bundle, `a` for an archive of
//! `docker save` or with a layout, `d` for the `manifest.json` of one, with the configuration after a NUL.
#![no_main]

use std::io::{self, Read};

use composefs_fuzz::{Budget, Linear, scratch};
use libcomposefs_image::Algorithm;
use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::bundle_document::count_digests;
use libcomposefs_oci::manifest::{Document, ImageConfig, Platform, for_platform};
use libcomposefs_oci::pull::{NoPullProgress, PullOptions, image_digest};
use libcomposefs_oci::source::{ArchiveFiles, DockerArchive, ImageSource as _, OciLayout, SourceFiles, find_manifest};
use libcomposefs_repo::Format;
use libfuzzer_sys::fuzz_target;

// A descriptor is kept with its digest, type and annotations, twice while the document is parsed.
const MEMORY: Linear = Linear { base: 64 << 10, per_byte: 128 };
const TIME: Linear = Linear { base: 10_000_000, per_byte: 5_000 };

static DOCUMENT: Budget = Budget::new("document", MEMORY, TIME);
static CONFIG: Budget = Budget::new("configuration", MEMORY, TIME);
// Names of layers are digests, which are kept in two forms.
static BUNDLE: Budget = Budget::new("bundle", MEMORY, TIME);
// Each member is read for each of the names that are tried.
static ARCHIVE: Budget = Budget::new("archive", Linear { base: 4 << 20, per_byte: 128 }, TIME);
static LAYOUT: Budget = Budget::new("layout", Linear { base: 4 << 20, per_byte: 256 }, TIME);

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind {
        b'm' => DOCUMENT.check(bytes.len(), || document(bytes)),
        b'c' => CONFIG.check(bytes.len(), || config(bytes)),
        b'l' => {
            let files = LayoutFiles::new(bytes);
            LAYOUT.check(files.len(), || layout(&files));
        }
        b'b' => BUNDLE.check(bytes.len(), || bundle(bytes)),
        b'a' => archive(bytes),
        b'd' => archive(&saved(bytes)),
        _ => {}
    }
});

fn bundle(bytes: &[u8]) {
    assert!(count_digests(bytes).is_none_or(|count| count <= bytes.len() / 64));
}

/// Reads an archive as one of `docker save`, and as one with a layout.
fn archive(bytes: &[u8]) {
    let scratch = scratch();
    let path = scratch.path().join("archive");
    std::fs::write(&path, bytes).expect("the scratch directory can be written");
    ARCHIVE.check(bytes.len(), || {
        for image in [None, Some("@0"), Some("example/app:1")] {
            let Ok(files) = ArchiveFiles::open(&path) else { return };
            let Ok(docker) = DockerArchive::new(files, "archive".to_owned(), image) else { continue };
            // The manifest is made of what was read.
            let manifest = find_manifest(&docker, &platform()).expect("a manifest of the program's own");
            for layer in &manifest.layers {
                let mut layer = docker.blob(layer).expect("a layer that was found");
                let read = io::copy(&mut layer, &mut io::sink()).expect("a member of the archive");
                assert!(read <= bytes.len() as u64);
            }
        }
        let Ok(files) = ArchiveFiles::open(&path) else { return };
        let _ = find_manifest(&OciLayout::new(files, "archive".to_owned(), None), &platform());
    });
}

/// Makes an archive of `manifest.json`, `c.json` and `l`, an empty layer.
fn saved(bytes: &[u8]) -> Vec<u8> {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (list, config) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut archive = Vec::new();
    for (name, content) in [("manifest.json", list), ("c.json", config), ("l", &[])] {
        archive.extend_from_slice(&header(name, content.len()));
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// Returns the header of a regular file.
fn header(name: &str, size: usize) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[148..156].fill(b' ');
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

fn document(bytes: &[u8]) {
    let Ok(document) = Document::parse(bytes.to_vec(), None) else { return };
    match &document {
        Document::Manifest(manifest) => {
            assert!(manifest.raw == bytes && manifest.digest == BlobDigest::of(bytes));
            // The type that the document says is the type that its source may say, and no other.
            let again = Document::parse(bytes.to_vec(), Some(&manifest.media_type));
            assert_eq!(again.ok().as_ref(), Some(&document));
        }
        Document::Index(index) => {
            let entries = &index.entries;
            assert!(entries.len() <= bytes.len() / 71);
            for entry in entries.iter().take(8) {
                let Some(platform) = &entry.platform else { continue };
                let found = for_platform(entries, platform).expect("the index has this platform");
                assert!(entries.contains(found));
                let found = found.platform.as_ref().expect("an entry with a platform");
                assert_eq!((&found.os, &found.architecture), (&platform.os, &platform.architecture));
            }
        }
    }
}

fn config(bytes: &[u8]) {
    let Ok(config) = ImageConfig::parse(bytes.to_vec()) else { return };
    assert!(config.raw == bytes && config.digest == BlobDigest::of(bytes));
    assert!(config.diff_ids.len() <= bytes.len() / 71);
    for (id, text) in config.diff_ids.iter().zip(config.parsed.rootfs().diff_ids()) {
        assert_eq!(id.to_string(), *text);
    }
}

fn platform() -> Platform {
    Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None }
}

fn layout(files: &LayoutFiles) {
    let platform = platform();
    for image in [None, Some("latest".to_owned())] {
        let source = OciLayout::new(files, "layout".to_owned(), image);
        let Ok(manifest) = find_manifest(&source, &platform) else { continue };
        assert!(manifest.raw == files.manifest, "only the manifest has a right digest");
        let config = manifest.parse_config(files.config.clone());
        let mut options = PullOptions::default();
        (options.platform, options.parallel) = (Some(platform.clone()), 1);
        let result = image_digest(&source, Algorithm::Sha256, Format::One, &options, &NoPullProgress);
        // No blob of a layer has a right digest, and an image without layers has no /usr.
        assert!(result.is_err(), "{result:?} of {config:?}");
    }
}

/// The files of a layout, of which each blob but the manifest and the configuration is empty.
struct LayoutFiles {
    index: Vec<u8>,
    manifest: Vec<u8>,
    config: Vec<u8>,
    manifest_path: String,
    config_path: String,
}

impl LayoutFiles {
    fn new(bytes: &[u8]) -> Self {
        let mut parts = bytes.splitn(3, |byte| *byte == 0);
        let mut part = || parts.next().unwrap_or_default();
        let (index, manifest, config) = (part(), part(), part());
        let config_digest = BlobDigest::of(config);
        let manifest = fill_in(manifest, b"%C", &config_digest);
        let manifest_digest = BlobDigest::of(&manifest);
        let path = |digest: &BlobDigest| format!("blobs/sha256/{}", digest.hex());
        Self {
            index: fill_in(index, b"%M", &manifest_digest),
            manifest,
            config: config.to_vec(),
            manifest_path: path(&manifest_digest),
            config_path: path(&config_digest),
        }
    }

    fn len(&self) -> usize {
        self.index.len() + self.manifest.len() + self.config.len()
    }
}

/// Replaces the first eight occurrences of a word by a digest.
fn fill_in(text: &[u8], word: &[u8], digest: &BlobDigest) -> Vec<u8> {
    let (mut filled, mut rest) = (Vec::new(), text);
    for _ in 0..8 {
        let Some(at) = rest.windows(word.len()).position(|window| window == word) else { break };
        filled.extend_from_slice(&rest[..at]);
        filled.extend_from_slice(digest.to_string().as_bytes());
        rest = &rest[at + word.len()..];
    }
    filled.extend_from_slice(rest);
    filled
}

impl SourceFiles for &LayoutFiles {
    fn open(&self, path: &str) -> io::Result<(Box<dyn Read + Send + '_>, u64)> {
        let bytes = match path {
            "index.json" => &self.index[..],
            path if path == self.manifest_path => &self.manifest,
            path if path == self.config_path => &self.config,
            path if path.starts_with("blobs/") => &[],
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok((Box::new(bytes), bytes.len() as u64))
    }
}
