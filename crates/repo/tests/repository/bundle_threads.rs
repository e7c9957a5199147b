//! Bundles are imported on several threads: the same objects, and the same error for every number of threads.

use std::io::Read as _;
use std::num::NonZeroUsize;
use std::path::Path;

use libcomposefs_content::NoProgress;
use libcomposefs_delta::Effort;
use libcomposefs_image::Digest;
use libcomposefs_repo::bundle::{FrameOptions, Have, TypedRecord, TypedRecordReader};
use libcomposefs_repo::{ImageName, ImportOptions, ObjectSource, Repository};

use crate::place::{Place, SETTINGS, copy_repository};

const THREADS: [usize; 3] = [1, 2, 5];

fn number(threads: usize) -> NonZeroUsize {
    NonZeroUsize::new(threads).unwrap()
}

/// A bundle of two images, for a receiver that has the third one if `have` is true.
fn bundle(place: &Place, have: bool) -> Vec<u8> {
    let repository = Repository::open(&place.path("repo")).unwrap();
    let images = [1, 2].map(|index| ImageName::Digest(place.images[index]));
    let have =
        Have { images: if have { vec![ImageName::Digest(place.images[0])] } else { Vec::new() }, objects: Vec::new() };
    let (mut bytes, options) = (Vec::new(), FrameOptions::new(Effort::Default, number(1)));
    repository.reader().unwrap().export_frames(&images, &[], &have, &options, &mut bytes, &NoProgress).unwrap();
    bytes
}

/// Imports a bundle into a new repository, or into a copy of `receiver`, and returns its images or the error.
fn import(place: &Place, receiver: Option<&Path>, bytes: &[u8], threads: usize) -> Result<Vec<Digest>, String> {
    let scratch = tempfile::tempdir_in(place.dir.path()).unwrap();
    let path = scratch.path().join("repo");
    let repository = match receiver {
        Some(receiver) => {
            copy_repository(receiver, &path);
            Repository::open(&path).unwrap()
        }
        None => Repository::init(&path, SETTINGS).unwrap().0,
    };
    let options =
        ImportOptions { objects: ObjectSource::None, rewrite: false, threads: number(threads), progress: &NoProgress };
    let before = repository.images().unwrap().images.len();
    match repository.import_bundle(bytes, Path::new("bundle"), &|_, names| names, &options) {
        Ok(imported) => Ok(imported.images.iter().map(|image| image.digest).collect()),
        Err(error) => {
            assert_eq!(repository.images().unwrap().images.len(), before);
            Err(error.to_string())
        }
    }
}

/// The ranges of the compressed bytes of all frames.
fn frames(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut reader, mut all) = (TypedRecordReader::new(bytes).unwrap(), Vec::new());
    while let Some(record) = reader.next_record().unwrap() {
        let start = reader.offset() as usize;
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        if let TypedRecord::Frame(_) | TypedRecord::Image { .. } = record {
            all.push(start..start + rest.len());
        }
    }
    all
}

#[test]
fn every_number_of_threads_gives_the_same_images() {
    let place = Place::new(150);
    let alone = bundle(&place, false);
    assert!(frames(&alone).len() > 4);
    for threads in THREADS {
        assert_eq!(import(&place, None, &alone, threads).unwrap(), place.images[1..], "{threads}");
    }
    let receiver = place.path("receiver");
    Repository::init(&receiver, SETTINGS).unwrap();
    let delta = bundle(&place, true);
    assert!(delta.len() < alone.len() / 2);
    let missing = import(&place, Some(&receiver), &delta, 1).unwrap_err();
    assert!(missing.contains("which this repository lacks"), "{missing}");
    for threads in THREADS {
        assert_eq!(import(&place, Some(&receiver), &delta, threads).unwrap_err(), missing, "{threads}");
        assert_eq!(import(&place, Some(&place.path("copy")), &delta, threads).unwrap(), place.images[1..], "{threads}");
    }
}

#[test]
fn every_number_of_threads_gives_the_same_error() {
    let place = Place::new(60);
    let whole = bundle(&place, false);
    let frames = frames(&whole);
    let mut damaged = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        let middle = (frame.start + frame.end) / 2;
        // One frame, this one and all after it, an end within it, and an end after it.
        let mut bytes = whole.clone();
        bytes[middle] ^= 0x55;
        damaged.push(bytes.clone());
        frames[index..].iter().for_each(|frame| bytes[frame.end - 1] ^= 0x55);
        damaged.push(bytes);
        damaged.push(whole[..middle].to_vec());
        damaged.push(whole[..frame.end].to_vec());
    }
    for (number, bytes) in damaged.iter().enumerate() {
        let expected = import(&place, None, bytes, 1).unwrap_err();
        assert_eq!(import(&place, None, bytes, 3).unwrap_err(), expected, "{number}");
    }
}

/// The records of a bundle without its end, and their number.
fn records(bytes: &[u8]) -> (&[u8], u64) {
    let end = bytes.len() - 18;
    (&bytes[24..end], u64::from_le_bytes(bytes[end + 10..].try_into().unwrap()))
}

#[test]
fn an_object_of_the_bundle_is_no_base() {
    let place = Place::new(150);
    let (delta, options) = (bundle(&place, true), FrameOptions::new(Effort::Default, number(1)));
    let (mut first, repository) = (Vec::new(), Repository::open(&place.path("repo")).unwrap());
    let (reader, have) = (repository.reader().unwrap(), Have::default());
    let image = [ImageName::Digest(place.images[0])];
    reader.export_frames(&image, &[], &have, &options, &mut first, &NoProgress).unwrap();
    let ((one, count), (two, more)) = (records(&first), records(&delta));
    let end = [&[4, 0x80, 8, 0, 0, 0, 0, 0, 0, 0], &(count + more).to_le_bytes()[..]].concat();
    let both = [&delta[..24], one, two, &end].concat();
    for threads in THREADS {
        let error = import(&place, None, &both, threads).unwrap_err();
        assert!(error.contains("is an object of the bundle itself"), "{threads}: {error}");
    }
    // In the other order it is an import as every other.
    let both = [&delta[..24], two, one, &end].concat();
    assert_eq!(import(&place, Some(&place.path("copy")), &both, 2).unwrap().len(), 3);
}
