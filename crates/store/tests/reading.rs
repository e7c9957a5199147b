//! Objects that images name are opened only below the object directories, and passed on only if they are intact.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_store::{Basedirs, Object, ObjectError, VerifiedBy};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::tempdir;

const KIB: usize = 1024;

/// Bytes in which all pieces differ.
fn content(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn collect(object: &Object, digest: &Digest) -> (Vec<u8>, Result<VerifiedBy, ObjectError>) {
    let mut out = Vec::new();
    let done = object.copy_verified(digest, |piece| {
        out.extend_from_slice(piece);
        Ok::<_, ObjectError>(())
    });
    (out, done)
}

#[test]
fn every_length_comes_out_as_it_is_and_only_by_its_digest() {
    let dir = tempdir().unwrap();
    let basedirs = Basedirs::open(&[dir.path()]).unwrap();
    let data = content(1600 * KIB);
    for len in [0, 1, 4095, 4096, 4097, 512 * KIB - 1, 512 * KIB, 512 * KIB + 1, 1024 * KIB, 1024 * KIB + 5000] {
        fs::write(dir.path().join("file"), &data[..len]).unwrap();
        let object = basedirs.open_object(b"file").unwrap();
        assert_eq!(object.size(), len as u64);
        for algorithm in Algorithm::ALL {
            let right = verity::digest(algorithm, &data[..len]);
            let (out, done) = collect(&object, &right);
            assert!(out == data[..len] && done.is_ok(), "{len} {algorithm}: {done:?}");
            object.verify(&right).unwrap();
            let wrong = verity::digest(algorithm, b"something else");
            let (out, done) = collect(&object, &wrong);
            assert!(out.is_empty() && matches!(done, Err(ObjectError::Digest { .. })), "{len} {algorithm}: {done:?}");
            assert!(matches!(object.verify(&wrong), Err(ObjectError::Digest { .. })));
        }
        object.expect_size(len as u64).unwrap();
        assert!(matches!(object.expect_size(len as u64 + 1), Err(ObjectError::Size { .. })));
    }
}

#[test]
fn bytes_written_between_check_and_copy_are_not_returned() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("file");
    let data = content(1600 * KIB);
    let digest = verity::digest(Algorithm::Sha256, &data);
    let basedirs = Basedirs::open(&[dir.path()]).unwrap();
    for change in [600 * KIB, 1100 * KIB, 1600 * KIB - 1] {
        fs::write(&path, &data).unwrap();
        let object = basedirs.open_object(b"file").unwrap();
        let mut out = Vec::new();
        let done = object.copy_verified(&digest, |piece| {
            // The check is done when the first piece arrives.
            fs::File::options().write(true).open(&path).unwrap().write_all_at(b"!", change as u64).unwrap();
            out.extend_from_slice(piece);
            Ok::<_, ObjectError>(())
        });
        assert!(matches!(done, Err(ObjectError::Changed { .. })), "{done:?}");
        assert_eq!(out.len(), change / (512 * KIB) * 512 * KIB);
        assert!(data.starts_with(&out));
    }
    // Truncation ends the copy as well.
    fs::write(&path, &data).unwrap();
    let object = basedirs.open_object(b"file").unwrap();
    let done = object.copy_verified(&digest, |_| {
        fs::File::options().write(true).open(&path).unwrap().set_len(700_000).unwrap();
        Ok::<_, ObjectError>(())
    });
    assert!(matches!(done, Err(ObjectError::Changed { .. })), "{done:?}");
}

#[test]
fn payloads_lead_nowhere_but_below() {
    let dir = tempdir().unwrap();
    let base = dir.path().join("objects");
    fs::create_dir_all(base.join("aa/directory")).unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    fs::write(base.join("aa/object"), "object").unwrap();
    symlink("object", base.join("aa/link")).unwrap();
    symlink("aa", base.join("bb")).unwrap();
    symlink(dir.path().join("secret"), base.join("aa/out")).unwrap();
    mknodat(CWD, base.join("aa/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let basedirs = Basedirs::open(&[&base]).unwrap();
    for payload in ["aa/object", "/aa/object", "//aa//object"] {
        assert_eq!(basedirs.open_object(payload.as_bytes()).unwrap().size(), 6, "{payload}");
    }
    for payload in ["../secret", "aa/../../secret", "aa/link", "bb/object", "aa/out"] {
        let error = basedirs.open_object(payload.as_bytes()).unwrap_err();
        assert!(matches!(error, ObjectError::LeadsAway { .. }), "{payload}: {error}");
    }
    for payload in ["aa/directory", "aa/fifo", "."] {
        let error = basedirs.open_object(payload.as_bytes()).unwrap_err();
        assert!(matches!(error, ObjectError::NotRegular { .. }), "{payload}: {error}");
    }
    let absolute = dir.path().join("secret");
    for payload in [absolute.to_str().unwrap(), "none", "aa/object/none", "", "/"] {
        let error = basedirs.open_object(payload.as_bytes()).unwrap_err();
        assert!(matches!(error, ObjectError::Missing { .. }), "{payload}: {error}");
    }
    let error = basedirs.open_object(b"a\x1b[2Jb").unwrap_err().to_string();
    assert!(error.contains("a\\x1b[2Jb") && error.contains("objects"), "{error}");
    let none: [&Path; 0] = [];
    let error = Basedirs::open(&none).unwrap().open_object(b"x").unwrap_err().to_string();
    assert!(error.contains("none was given"), "{error}");
    assert!(matches!(Basedirs::open(&[base.join("aa/object")]), Err(ObjectError::Basedir { .. })));
}

#[test]
fn the_first_directory_that_has_it_gives_it() {
    let dir = tempdir().unwrap();
    let bases: Vec<PathBuf> = ["one", "two", "three"].iter().map(|name| dir.path().join(name)).collect();
    bases.iter().for_each(|base| fs::create_dir(base).unwrap());
    fs::write(bases[1].join("object"), "22").unwrap();
    fs::write(bases[2].join("object"), "333").unwrap();
    let basedirs = Basedirs::open(&bases).unwrap();
    assert_eq!(basedirs.open_object(b"object").unwrap().path(), bases[1].join("object"));
    // An entry that is not a file does not hide a later one, as with overlayfs.
    fs::create_dir(bases[0].join("object")).unwrap();
    assert_eq!(basedirs.open_object(b"object").unwrap().size(), 2);
    fs::remove_file(bases[1].join("object")).unwrap();
    fs::remove_file(bases[2].join("object")).unwrap();
    let error = basedirs.open_object(b"object").unwrap_err();
    assert!(matches!(error, ObjectError::NotRegular { .. }), "{error}");
}
