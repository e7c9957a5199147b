//! Stored contents become objects, and damaged objects are replaced.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use libcomposefs_content::SourceFile;
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_store::{Error, ObjectDir, ObjectVerity, PutOutcome, StorePolicy, Summary};
use libcomposefs_testkit::privilege::without_root;
use libcomposefs_testkit::skip;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::os::fd::AsFd;
use support::{assert_sound, files, put, store};
use tempfile::tempdir;

const CONTENT: &[u8] = b"content_a\n";
const OBJECT: &str = "cc/3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f";

fn put_file(store: &ObjectDir, path: &Path) -> Result<(Digest, PutOutcome, Summary), Error> {
    let file = fs::File::open(path).unwrap();
    let batch = store.batch();
    let source = SourceFile::of(file.as_fd()).unwrap();
    let (digest, outcome) = batch.put_file(&source, &mut vec![0; 1 << 20])?;
    Ok((digest, outcome, batch.finish()?))
}

#[test]
fn a_new_object_has_its_name_and_mode() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("a/b/store");
    let store = store(&root);
    let (digest, outcome) = put(&store, CONTENT);
    assert_eq!((digest.object_path().as_str(), outcome), (OBJECT, PutOutcome::New));
    assert_eq!(files(&root), [Path::new(OBJECT)]);
    assert_eq!(assert_sound(&root), 1);
    assert_eq!(put(&store, CONTENT), (digest, PutOutcome::Present));
    assert!(store.open_object(&digest).unwrap().is_some());
    assert!(store.open_object(&verity::digest(Algorithm::Sha256, b"none")).unwrap().is_none());
    assert!(store.open_object(&verity::digest(Algorithm::Sha512, b"none")).is_err());
}

#[test]
fn the_same_content_is_stored_once() {
    let dir = tempdir().unwrap();
    let store = store(dir.path());
    put(&store, b"present");
    let batch = store.batch();
    let outcomes = [&b"one"[..], b"present", b"one", b"present", b"two"].map(|c| batch.put_bytes(c).unwrap().1);
    assert_eq!(
        outcomes,
        [PutOutcome::New, PutOutcome::Present, PutOutcome::Repeated, PutOutcome::Repeated, PutOutcome::New]
    );
    let summary = batch.finish().unwrap();
    assert_eq!((summary.new, summary.present, summary.repeated, summary.bytes_written), (2, 1, 2, 6));
    assert_eq!(summary.repaired, []);
    assert_eq!(store.list().map(Result::unwrap).count(), 3);
    assert_eq!(assert_sound(dir.path()), 3);
}

#[test]
fn nothing_has_a_name_before_the_end_and_nothing_stays_of_a_dropped_batch() {
    let dir = tempdir().unwrap();
    let store = store(dir.path());
    let batch = store.batch();
    for i in 0..100 {
        batch.put_bytes(format!("content {i}").as_bytes()).unwrap();
    }
    assert!(files(dir.path()).is_empty());
    drop(batch);
    assert!(files(dir.path()).is_empty());
}

#[test]
fn many_objects_by_many_threads() {
    let dir = tempdir().unwrap();
    let store = store(dir.path());
    let batch = store.batch();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..3000).for_each(|i| {
                    batch.put_bytes(format!("{i}").as_bytes()).unwrap();
                })
            });
        }
    });
    let summary = batch.finish().unwrap();
    assert_eq!((summary.new, summary.repeated), (3000, 9000));
    assert_eq!(assert_sound(dir.path()), 3000);
}

/// Stores `CONTENT` in both ways after `spoil` has changed its object.
fn assert_repaired(what: &str, spoil: impl Fn(&Path)) {
    for by_file in [false, true] {
        let dir = tempdir().unwrap();
        let root = dir.path().join("store");
        let store = store(&root);
        let (digest, _) = put(&store, CONTENT);
        let object = root.join(OBJECT);
        spoil(&object);
        let (outcome, summary) = if by_file {
            fs::write(dir.path().join("source"), CONTENT).unwrap();
            let (_, outcome, summary) = put_file(&store, &dir.path().join("source")).unwrap();
            (outcome, summary)
        } else {
            let batch = store.batch();
            let (_, outcome) = batch.put_bytes(CONTENT).unwrap();
            (outcome, batch.finish().unwrap())
        };
        assert_eq!((outcome, summary.repaired), (PutOutcome::Repaired, vec![digest]), "{what}, by file: {by_file}");
        assert_eq!(assert_sound(&root), 1, "{what}");
    }
}

#[test]
fn wrong_objects_are_repaired() {
    assert_repaired("truncated", |object| fs::write(object, &CONTENT[..5]).unwrap());
    assert_repaired("empty", |object| fs::write(object, "").unwrap());
    assert_repaired("longer", |object| fs::write(object, [CONTENT, b"x"].concat()).unwrap());
    assert_repaired("other content", |object| fs::write(object, "content_b\n").unwrap());
    assert_repaired("a symlink to the right content", |object| {
        let elsewhere = object.parent().unwrap().parent().unwrap().parent().unwrap().join("elsewhere");
        fs::rename(object, &elsewhere).unwrap();
        symlink(elsewhere, object).unwrap();
    });
    assert_repaired("a pipe", |object| {
        fs::remove_file(object).unwrap();
        mknodat(CWD, object, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    });
    assert_repaired("a socket", |object| {
        fs::remove_file(object).unwrap();
        let short = tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(short.path().join("s")).unwrap());
        fs::rename(short.path().join("s"), object).unwrap();
    });
}

#[test]
fn a_repair_replaces_and_never_writes_into_the_old_object() {
    use std::io::Read;
    let dir = tempdir().unwrap();
    let store = store(dir.path());
    put(&store, CONTENT);
    fs::write(dir.path().join(OBJECT), "content_b\n").unwrap();
    let mut open = fs::File::open(dir.path().join(OBJECT)).unwrap();
    put(&store, CONTENT);
    let mut old = String::new();
    open.read_to_string(&mut old).unwrap();
    assert_eq!(old, "content_b\n");
}

#[test]
fn directories_in_the_way_are_errors() {
    let dir = tempdir().unwrap();
    let store = store(dir.path());
    fs::create_dir_all(dir.path().join(OBJECT)).unwrap();
    let error = store.batch().put_bytes(CONTENT).unwrap_err();
    assert!(matches!(error, Error::DirectoryInTheWay { .. }), "{error}");
}

#[test]
fn symlinks_among_the_directories_are_not_followed() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("store");
    let store = store(&root);
    fs::create_dir(dir.path().join("elsewhere")).unwrap();
    for with_object in [false, true] {
        if with_object {
            fs::write(dir.path().join("elsewhere").join(&OBJECT[3..]), CONTENT).unwrap();
        }
        let _ = fs::remove_file(root.join("cc"));
        symlink(dir.path().join("elsewhere"), root.join("cc")).unwrap();
        let batch = store.batch();
        let error = batch.put_bytes(CONTENT).and_then(|_| batch.finish()).unwrap_err();
        assert!(matches!(error, Error::NotAnObjectDirectory { .. }), "{error}");
    }
    assert_eq!(files(&dir.path().join("elsewhere")).len(), 1);
}

#[test]
fn sizes_alone_are_compared_by_default() {
    let dir = tempdir().unwrap();
    put(&store(dir.path()), CONTENT);
    fs::write(dir.path().join(OBJECT), "content_b\n").unwrap();
    let store = ObjectDir::open(dir.path(), Algorithm::Sha256, StorePolicy::default()).unwrap();
    assert_eq!(put(&store, CONTENT).1, PutOutcome::Present);
    // Once the file system is known to lack fs-verity, nothing is opened to measure it.
    assert_eq!(put(&store, CONTENT).1, PutOutcome::Present);
    fs::write(dir.path().join(OBJECT), "content").unwrap();
    assert_eq!(put(&store, CONTENT).1, PutOutcome::Repaired);
}

#[test]
fn two_batches_at_once_agree() {
    let dir = tempdir().unwrap();
    let store = store(dir.path());
    let (first, second, third) = (store.batch(), store.batch(), store.batch());
    for batch in [&first, &second, &third] {
        assert_eq!(batch.put_bytes(CONTENT).unwrap().1, PutOutcome::New);
    }
    assert_eq!(first.finish().unwrap().new, 1);
    let summary = second.finish().unwrap();
    assert_eq!((summary.new, summary.present), (0, 1));
    // An object of the other batch is not trusted either.
    fs::write(dir.path().join(OBJECT), "content_b\n").unwrap();
    assert_eq!(third.finish().unwrap().repaired.len(), 1);
    assert_eq!(assert_sound(dir.path()), 1);
}

#[test]
fn large_files_new_and_present() {
    let dir = tempdir().unwrap();
    let root = dir.path().join("store");
    let store = store(&root);
    let source = dir.path().join("source");
    for len in [0, 1, 4096, (1 << 20) + 1, 5_000_000] {
        let content: Vec<u8> = (0..len).map(|i| (i % 249) as u8).collect();
        fs::write(&source, &content).unwrap();
        let batch = store.batch();
        let file = fs::File::open(&source).unwrap();
        let source = SourceFile::of(file.as_fd()).unwrap();
        let mut buffer = vec![0; 1 << 20];
        for expected in [PutOutcome::New, PutOutcome::Repeated] {
            let put = batch.put_file(&source, &mut buffer).unwrap();
            assert_eq!(put, (verity::digest(Algorithm::Sha256, &content), expected));
        }
        batch.finish().unwrap();
        // Twice: the second batch expects the object to exist, and hashes first.
        let batch = store.batch();
        for expected in [PutOutcome::Present, PutOutcome::Repeated] {
            assert_eq!(batch.put_file(&source, &mut buffer).unwrap().1, expected);
        }
        batch.finish().unwrap();
    }
    assert_eq!(assert_sound(&root), 5);
}

#[test]
fn verity_that_is_required_and_not_there_is_an_error() {
    let dir = tempdir().unwrap();
    let policy = StorePolicy::default().with_verity(ObjectVerity::Required);
    let store = ObjectDir::create(dir.path(), Algorithm::Sha256, policy).unwrap();
    let batch = store.batch();
    match batch.put_bytes(CONTENT).and_then(|_| batch.finish()) {
        Ok(_) => skip::announce("verity_that_is_required_and_not_there_is_an_error", "this file system has fs-verity"),
        Err(error) => {
            assert!(matches!(error, Error::Verity { .. }), "{error}");
            assert!(files(dir.path()).is_empty());
        }
    }
}

#[test]
fn only_names_of_objects_are_listed() {
    let dir = tempdir().unwrap();
    let store = store(dir.path());
    let (digest, _) = put(&store, CONTENT);
    fs::write(dir.path().join(".tmpabcdef"), "left by a killed run").unwrap();
    fs::write(dir.path().join("cc/short"), "").unwrap();
    fs::write(dir.path().join(OBJECT.to_uppercase().replace("CC/", "cc/")), "").unwrap();
    fs::create_dir(dir.path().join("zz")).unwrap();
    symlink("cc", dir.path().join("dd")).unwrap();
    assert_eq!(store.list().map(Result::unwrap).collect::<Vec<_>>(), [digest]);
}

#[test]
fn a_store_that_cannot_be_written_is_an_error_with_its_path() {
    use std::os::unix::fs::PermissionsExt;
    without_root(|| {
        let dir = tempdir().unwrap();
        let store = store(&dir.path().join("store"));
        fs::set_permissions(store.path(), fs::Permissions::from_mode(0o555)).unwrap();
        let error = store.batch().put_bytes(CONTENT).unwrap_err().to_string();
        assert!(error.contains("store") && error.contains("Permission denied"), "{error}");
        let deeper = ObjectDir::create(&store.path().join("deeper"), Algorithm::Sha256, StorePolicy::default());
        let error = deeper.unwrap_err().to_string();
        assert!(error.contains("deeper"), "{error}");
    });
}

#[test]
fn fills_a_store_when_asked() {
    support::fill_if_asked();
}

/// The umask belongs to the process, so this test starts another one.
#[test]
fn modes_do_not_depend_on_the_umask() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("source")).unwrap();
    fs::write(dir.path().join("source/f"), "x".repeat(100)).unwrap();
    for (umask, directory_mode) in [("077", 0o700), ("000", 0o755), ("027", 0o750)] {
        use std::os::unix::fs::PermissionsExt;
        let store = dir.path().join(format!("store-{umask}"));
        let script = format!("umask {umask}; exec \"$0\" \"$@\"");
        let (program, arguments, (key, value)) = support::fill_command(&dir.path().join("source"), &store);
        let status = Command::new("sh")
            .args(["-c", &script])
            .arg(program)
            .args(arguments)
            .env(key, value)
            .output()
            .unwrap()
            .status;
        assert!(status.success());
        assert_eq!(assert_sound(&store), 1);
        let fan = fs::read_dir(&store).unwrap().next().unwrap().unwrap();
        assert_eq!(fan.metadata().unwrap().permissions().mode() & 0o777, directory_mode, "{umask}");
    }
}
