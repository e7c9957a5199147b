//! Object directories, served by the names of the objects.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use libcomposefs_image::{Algorithm, Digest, verity};

use crate::fixture::{Mounted, Place, bytes, read};

const EIO: i32 = 5;
const ENOENT: i32 = 2;

const LENGTHS: [usize; 8] = [0, 1, 4096, 4097, 65_536, 65_537, 1 << 20, (8 << 20) + 5];

/// A change of a content.
type ContentChange<'d> = &'d dyn Fn(&mut Vec<u8>);

fn path(mounted: &Mounted, digest: &Digest) -> PathBuf {
    mounted.path(&digest.object_path())
}

pub(super) fn are_served_by_their_names() {
    let place = Place::new();
    let contents: Vec<_> = LENGTHS.iter().zip(0..).map(|(&len, seed)| bytes(len, seed)).collect();
    let mounted = place.mount_objects();
    for algorithm in Algorithm::ALL {
        for content in &contents {
            // The name is looked up before the object is there: the failure is not kept.
            let digest = verity::digest(algorithm, content);
            assert_eq!(read(&path(&mounted, &digest)), Err(ENOENT), "{} bytes", content.len());
            place.store(algorithm, content);
            assert!(read(&path(&mounted, &digest)).as_ref() == Ok(content), "{} bytes", content.len());
            let stat = fs::metadata(path(&mounted, &digest)).unwrap();
            assert_eq!((stat.mode(), stat.size(), stat.nlink()), (0o100_444, content.len() as u64, 1));
        }
    }
    // To the end, at which a kernel that keeps names has all of them.
    let listed = |name: &str| -> Vec<_> {
        fs::read_dir(mounted.path(name)).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    assert_eq!(listed("").len(), 256);
    let digest = verity::digest(Algorithm::Sha256, &contents[3]);
    let hex = digest.to_hex();
    assert!(listed(&hex[..2]).iter().any(|name| *name == hex[2..]));
    // The names are listed anew each time: an object that was removed is gone, and one that was stored is there.
    fs::remove_file(place.object(&digest)).unwrap();
    assert!(!listed(&hex[..2]).iter().any(|name| *name == hex[2..]));
    place.store(Algorithm::Sha256, &contents[3]);
    assert!(listed(&hex[..2]).iter().any(|name| *name == hex[2..]));
    assert!(mounted.failures.take().is_empty());
}

pub(super) fn damage_is_an_error() {
    let place = Place::new();
    let contents: Vec<_> =
        [1, 4096, 5000, 65_537, 3 << 20].into_iter().zip(0..).map(|(len, i)| bytes(len, i)).collect();
    let other = bytes(5000, 99);
    let damages: [ContentChange<'_>; 5] = [
        &|content| content[0] ^= 1,
        &|content| *content.last_mut().unwrap() ^= 0x80,
        &|content| content.truncate(content.len() / 2),
        &|content| content.push(0),
        &|content| content.clone_from(&other),
    ];
    for damage in damages {
        for content in &contents {
            let digest = place.store(Algorithm::Sha256, content);
            let mut wrong = content.clone();
            damage(&mut wrong);
            fs::write(place.object(&digest), &wrong).unwrap();
            let mounted = place.mount_objects();
            assert_eq!(read(&path(&mounted, &digest)), Err(EIO), "{} bytes", content.len());
            assert!(!mounted.failures.take().is_empty());
            if wrong.len() == content.len() {
                // Another file by the same name: the damaged one is not kept open.
                fs::write(place.objects().join("repaired"), content).unwrap();
                fs::rename(place.objects().join("repaired"), place.object(&digest)).unwrap();
                assert!(read(&path(&mounted, &digest)).as_ref() == Ok(content), "{} bytes", content.len());
            }
        }
    }
}

pub(super) fn names_that_lead_away() {
    let place = Place::new();
    let digest = place.store(Algorithm::Sha256, b"content");
    let object = place.object(&digest);
    fs::write(object.parent().unwrap().join("more"), "not an object").unwrap();
    fs::write(place.objects().join("file"), "not an object").unwrap();
    let link = verity::digest(Algorithm::Sha256, b"another");
    fs::create_dir_all(place.object(&link).parent().unwrap()).unwrap();
    symlink(&object, place.object(&link)).unwrap();
    let mounted = place.mount_objects();
    let hex = digest.to_hex();
    for name in [
        "file".to_owned(),
        format!("{}/more", &hex[..2]),
        digest.object_path().to_uppercase(),
        format!("{}/{}", &hex[..2], &hex[2..60]),
    ] {
        let is_itself = name == digest.object_path();
        assert!(is_itself || read(&mounted.path(&name)) == Err(ENOENT), "{name}");
    }
    assert_eq!(read(&path(&mounted, &link)), Err(EIO));
    assert_eq!(read(&path(&mounted, &digest)), Ok(b"content".to_vec()));
    assert_eq!(fs::read_dir(mounted.path(&hex[..2])).unwrap().count(), 1);
}
