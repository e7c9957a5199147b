//! Damaged objects and images: an error, and never a wrong byte.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;

use libcomposefs_fuse::Trust;
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::tree::{InodeId, NewInode, TreeBuilder};
use libcomposefs_image::{Algorithm, Digest};
use rustix::fs::{Advice, fadvise};

use crate::fixture::{Place, bytes, directory, read, tree_of};

const EIO: i32 = 5;

pub(super) fn a_missing_object() {
    let place = Place::new();
    let digest = place.store(Algorithm::Sha256, &[1; 5000]);
    let there = place.store(Algorithm::Sha256, &[2; 5000]);
    fs::remove_file(place.object(&digest)).unwrap();
    let tree = tree_of(Algorithm::Sha256, [("gone", 5000, digest), ("there", 5000, there)]);
    let mounted = place.mount(&tree, Trust::Verify);
    assert_eq!(read(&mounted.path("gone")), Err(EIO));
    let failures = mounted.failures.take();
    assert!(failures.iter().any(|text| text.contains(&digest.object_path()[..10])), "{failures:?}");
    assert_eq!(read(&mounted.path("there")), Ok(vec![2; 5000]));
    // An object that appears later is found: nothing of the failure was kept.
    place.store(Algorithm::Sha256, &[1; 5000]);
    assert_eq!(read(&mounted.path("gone")), Ok(vec![1; 5000]));
}

/// Numbers without a pattern, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// Every second object is damaged in one of five ways.
pub(super) fn every_damage_is_an_error() {
    let count = if std::env::var_os("COMPOSEFS_FULL").is_some() { 20_000 } else { 1_000 };
    let place = Place::new();
    let mut numbers = Numbers(5);
    let objects: Vec<(String, Vec<u8>, Digest)> = (0..count)
        .map(|index| {
            let len = match index % 10 {
                0..5 => 65 + numbers.below(4032),
                5..8 => 4097 + numbers.below(60_000),
                8 => 65_536 + numbers.below(200_000),
                _ => 200_000 + numbers.below(700_000),
            };
            // Long objects only as long as the test is short.
            let content = bytes(if count > 1_000 { len.min(300_000) } else { len }, index);
            let digest = place.store(Algorithm::Sha256, &content);
            (format!("{index}"), content, digest)
        })
        .collect();
    let swapped = objects[1].2;
    for (index, (_, content, digest)) in objects.iter().enumerate().filter(|(index, _)| index % 2 == 0) {
        damage(&place, index / 2, content, digest, &swapped, &mut numbers);
    }
    let files = objects.iter().map(|(name, content, digest)| (name.as_str(), content.len() as u64, *digest));
    let mounted = place.mount(&tree_of(Algorithm::Sha256, files), Trust::Verify);
    for (index, (name, content, _)) in objects.iter().enumerate() {
        let expected = if index % 2 == 0 { Err(EIO) } else { Ok(content.clone()) };
        let found = read_in_pieces(&mounted.path(name), content);
        assert!(found == expected, "object {index}, damage {}: {:?}", index / 2 % 5, found.map(|bytes| bytes.len()));
    }
}

fn damage(place: &Place, kind: usize, content: &[u8], digest: &Digest, other: &Digest, numbers: &mut Numbers) {
    let path = place.object(digest);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    match kind % 5 {
        0 => {
            let at = numbers.below(content.len());
            file.write_all_at(&[content[at] ^ 1 << numbers.below(8)], at as u64).unwrap();
        }
        1 => file.set_len(numbers.below(content.len()) as u64).unwrap(),
        2 => file.write_all_at(&bytes(1 + numbers.below(9000), 1), content.len() as u64).unwrap(),
        3 => drop(fs::copy(place.object(other), &path).unwrap()),
        _ => {
            let at = numbers.below(content.len()) / 4096 * 4096;
            let end = content.len().min(at + 4096);
            file.write_all_at(&vec![0; end - at], at as u64).unwrap();
        }
    }
}

/// Reads to the end or to the first error. What was read before it must be right.
fn read_in_pieces(path: &std::path::Path, content: &[u8]) -> Result<Vec<u8>, i32> {
    use std::io::Read as _;
    let mut file = File::open(path).unwrap();
    let (mut found, mut piece) = (Vec::new(), vec![0; 50_000]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(found),
            Ok(count) => {
                assert!(content.get(found.len()..found.len() + count) == Some(&piece[..count]), "{path:?}");
                found.extend_from_slice(&piece[..count]);
            }
            Err(error) => return Err(error.raw_os_error().unwrap_or(0)),
        }
    }
}

pub(super) fn after_the_first_read() {
    // Shorter and longer than what the server keeps whole, and with hashes that it has or has not in memory.
    for len in [1 << 20, 12 << 20] {
        let place = Place::new();
        let content = bytes(len, 9);
        let digest = place.store(Algorithm::Sha256, &content);
        let mounted = place.mount(&tree_of(Algorithm::Sha256, [("one", len as u64, digest)]), Trust::Verify);
        let file = File::open(mounted.path("one")).unwrap();
        fadvise(&file, 0, None, Advice::Random).unwrap();
        let block = |number: usize| {
            let mut found = vec![0; 4096];
            file.read_exact_at(&mut found, number as u64 * 4096).map_err(|error| error.raw_os_error().unwrap_or(0))?;
            assert!(found == content[number * 4096..][..4096], "block {number}");
            Ok(())
        };
        // The last block ends the time for which the content is kept.
        for number in [0, len / 4096 - 1] {
            assert_eq!(block(number), Ok(()));
        }
        let object = OpenOptions::new().write(true).open(place.object(&digest)).unwrap();
        object.write_all_at(&[content[100 * 4096 + 5] ^ 4], 100 * 4096 + 5).unwrap();
        assert_eq!([99, 100, 101].map(block), [Ok(()), Err(EIO), Ok(())], "{len}");
        // What is in the page cache is right, and stays.
        assert_eq!(block(0), Ok(()));
        object.write_all_at(&content[100 * 4096..][..4096], 100 * 4096).unwrap();
        assert_eq!(block(100), Ok(()), "mended");
        object.set_len(len as u64 / 2).unwrap();
        assert_eq!(block(len / 4096 - 7), Err(EIO), "cut while it is open");
        // Another file by the same name is read instead, as soon as reading the open one fails.
        fs::write(place.objects().join("repaired"), &content).unwrap();
        fs::rename(place.objects().join("repaired"), place.object(&digest)).unwrap();
        assert_eq!(block(len / 4096 - 7), Ok(()), "repaired");
    }
}

pub(super) fn is_served_if_asked_for() {
    let place = Place::new();
    let content = bytes(10_000, 2);
    let digest = place.store(Algorithm::Sha256, &content);
    let mut damaged = content.clone();
    damaged[5000] ^= 1;
    fs::write(place.object(&digest), &damaged).unwrap();
    let tree = tree_of(Algorithm::Sha256, [("one", 10_000, digest)]);
    let mounted = place.mount(&tree, Trust::Verify);
    assert_eq!(read(&mounted.path("one")), Err(EIO));
    drop(mounted);
    let mounted = place.mount(&tree, Trust::Insecure);
    assert!(read(&mounted.path("one")) == Ok(damaged));
}

pub(super) fn a_file_without_digest() {
    let place = Place::new();
    let digest = place.store(Algorithm::Sha256, &[3; 100]);
    let path = digest.object_path();
    let mut builder = TreeBuilder::new(Algorithm::Sha256, &directory()).unwrap();
    let file = NewInode { mode: 0o100_644, size: 100, payload: Some(path.as_bytes()), ..NewInode::default() };
    builder.add(InodeId::ROOT, b"one", &file).unwrap();
    let tree = builder.finish_with_counted_links();
    let mounted = place.mount(&tree, Trust::Verify);
    // The name of the object is a digest, but the image does not say so: the kernel would not read it either.
    assert_eq!(read(&mounted.path("one")), Err(EIO));
    drop(mounted);
    assert_eq!(read(&place.mount(&tree, Trust::Insecure).path("one")), Ok(vec![3; 100]));
}

/// Images with random changes are read from end to end: errors are possible, a panic or a hanging process is not.
pub(super) fn of_the_image() {
    let place = Place::new();
    let digest = place.store(Algorithm::Sha256, &[3; 100]);
    let files: Vec<_> = (0..40).map(|index| format!("file{index}")).collect();
    let tree = tree_of(Algorithm::Sha256, files.iter().map(|name| (name.as_str(), 100, digest)));
    let mut image = Vec::new();
    Image::plan(&tree, Versions::default()).unwrap().write(&mut image).unwrap();
    let mut numbers = Numbers(17);
    let mut failures = 0;
    for _ in 0..40 {
        let mut damaged = image.clone();
        for _ in 0..1 + numbers.below(30) {
            let at = 1200 + numbers.below(damaged.len() - 1200);
            damaged[at] = numbers.below(256) as u8;
        }
        let reader = libcomposefs_image::erofs::read::ImageReader::new(&damaged);
        if !reader.is_ok_and(|reader| reader.root().is_ok()) {
            continue;
        }
        let mounted = place.mount_image(damaged, Trust::Verify);
        let Ok(names) = fs::read_dir(mounted.path("")) else { continue };
        for name in names.filter_map(Result::ok) {
            let _ = fs::symlink_metadata(name.path());
            if name.file_type().is_ok_and(|kind| kind.is_file())
                && let Ok(content) = fs::read(name.path())
            {
                // The size of a file is what the image says; its bytes are those of an object, or of the image.
                assert!(content.len() < 1 << 20, "{name:?}");
            }
        }
        failures += mounted.failures.take().len();
    }
    assert!(failures > 0);
}
