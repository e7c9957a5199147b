use std::io::Cursor;

use libcomposefs_repo::RefName;

use super::*;

struct ReceivedBytes(Vec<u8>);

impl RangeSink for ReceivedBytes {
    fn begin(&mut self, answer: RangeAnswer) -> io::Result<()> {
        assert_eq!(answer, RangeAnswer::Part);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn reference(name: &str) -> FileName {
    FileName::Ref(RefName::new(name).unwrap())
}

#[test]
fn files_are_created_once_and_read_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(&dir.path().join("new")).unwrap();
    let name = FileName::Pack(Sha256Digest::of(b"content"));
    assert_eq!(store.length(&name).unwrap(), None);
    assert!(store.read(&name, 10).unwrap().is_none());
    assert_eq!(store.create(&name, &mut Cursor::new(b"content")).unwrap(), CreateOutcome::New);
    assert_eq!(store.create(&name, &mut Cursor::new(b"content")).unwrap(), CreateOutcome::Existed);
    assert_eq!(store.length(&name).unwrap(), Some(7));
    assert_eq!(store.read(&name, 7).unwrap().unwrap().bytes, b"content");
    assert!(store.read(&name, 6).unwrap_err().to_string().contains("more than 6 bytes"));
    let mut sink = ReceivedBytes(Vec::new());
    assert_eq!(store.read_range(&name, 1..3, &mut sink).unwrap(), Some(RangeAnswer::Part));
    assert_eq!(sink.0, b"on");
    assert!(store.read_range(&name, 5..8, &mut sink).is_err());
    let listed = store.list(FileKind::Pack).unwrap();
    assert_eq!((listed.len(), &listed[0].name, listed[0].length), (1, &name, 7));
    store.delete(&name).unwrap();
    store.delete(&name).unwrap();
    assert!(store.list(FileKind::Pack).unwrap().is_empty());
}

#[test]
fn refs_are_replaced_only_as_they_were_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(dir.path()).unwrap();
    let name = reference("debian/13");
    let RefReplacement::Done(Some(first)) = store.replace(&name, b"1", &ExpectedFile::Absent).unwrap() else {
        panic!("the ref was not written")
    };
    assert_eq!(store.read(&name, 9).unwrap().unwrap().version.as_ref(), Some(&first));
    assert_eq!(store.replace(&name, b"2", &ExpectedFile::Absent).unwrap(), RefReplacement::Changed);
    let expected = ExpectedFile::Version(first);
    assert!(matches!(store.replace(&name, b"2", &expected).unwrap(), RefReplacement::Done(Some(_))));
    assert_eq!(store.replace(&name, b"3", &expected).unwrap(), RefReplacement::Changed);
    assert_eq!(store.read(&name, 9).unwrap().unwrap().bytes, b"2");
    let error = store.replace(&reference("debian"), b"1", &ExpectedFile::Absent).unwrap_err().to_string();
    assert!(error.contains("no regular file"), "{error}");
    store.delete(&name).unwrap();
    assert!(matches!(
        store.replace(&reference("debian"), b"1", &ExpectedFile::Absent).unwrap(),
        RefReplacement::Done(_)
    ));
    assert!(store.replace(&name, b"1", &ExpectedFile::Absent).is_err());
}

#[test]
fn repositories_and_files_are_no_remotes() {
    let dir = tempfile::tempdir().unwrap();
    DirectoryStore::open(dir.path()).unwrap();
    std::fs::write(dir.path().join("meta.json"), "{}").unwrap();
    let error = DirectoryStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("composefs sync"), "{error}");
    assert!(DirectoryStore::open(&dir.path().join("meta.json")).is_err());
}

#[test]
fn strange_files_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(dir.path()).unwrap();
    let name = reference("pipe");
    std::fs::create_dir(dir.path().join("refs")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("refs/pipe"), 0o600.into()).unwrap();
    assert!(store.read(&name, 9).unwrap_err().to_string().contains("no regular file"));
    assert!(store.list(FileKind::Ref).unwrap().is_empty());
}
