//! What every remote does, checked in the same way for all of them.

use std::io::{self, Cursor};

use libcomposefs_delivery::{
    CreateOutcome, ExpectedFile, FileEntry, FileKind, FileName, RangeAnswer, RangeSink, RefDocument, RefImage,
    RefReplacement, RemoteStore, Sha256Digest,
};
use libcomposefs_image::Digest;
use libcomposefs_repo::RefName;

use crate::noise;

/// Keeps the bytes of a range.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) answer: Option<RangeAnswer>,
    pub(crate) bytes: Vec<u8>,
}

impl RangeSink for Kept {
    fn begin(&mut self, answer: RangeAnswer) -> io::Result<()> {
        assert!(self.answer.replace(answer).is_none(), "two answers");
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

pub(crate) fn pack(content: &[u8]) -> FileName {
    FileName::Pack(Sha256Digest::of(content))
}

pub(crate) fn ref_name(name: &str) -> FileName {
    FileName::Ref(RefName::new(name).unwrap())
}

/// A document that names files.
pub(crate) fn document(files: [&[u8]; 3]) -> Vec<u8> {
    let [metadata, index, pack] =
        files.map(|content| FileEntry { sha256: Sha256Digest::of(content), size: content.len() as u64 });
    let image = RefImage { digest: Digest::from_hex("ab".repeat(32)).unwrap(), size: 4096 };
    RefDocument { image, metadata, index, packs: vec![pack], records: Vec::new() }.to_text().unwrap()
}

/// Reads a file of `content` in all ways.
pub(crate) fn check_reads(store: &dyn RemoteStore, name: &FileName, content: &[u8], has_ranges: bool) {
    let length = content.len() as u64;
    assert_eq!(store.length(name).unwrap(), Some(length));
    assert!(store.read(name, length).unwrap().unwrap().bytes == content);
    let error = store.read(name, length - 1).unwrap_err();
    assert!(error.to_string().contains(&format!("more than {} bytes", length - 1)), "{error}");
    for range in [0..1, 5..length / 2, length - 1..length, 0..length] {
        let mut kept = Kept::default();
        let answer = store.read_range(name, range.clone(), &mut kept).unwrap().unwrap();
        assert_eq!(kept.answer, Some(answer));
        match answer {
            RangeAnswer::Part => {
                assert!(has_ranges && kept.bytes == content[range.start as usize..range.end as usize], "{range:?}");
            }
            RangeAnswer::Whole(whole) => assert!(!has_ranges && whole == length && kept.bytes == content),
        }
    }
    for range in [length..length + 1, length - 1..length + 1] {
        let error = store.read_range(name, range, &mut Kept::default()).unwrap_err();
        assert!(error.to_string().contains("outside"), "{error}");
    }
    let missing = pack(b"missing");
    assert_eq!(store.length(&missing).unwrap(), None);
    assert_eq!(store.read(&missing, 10).unwrap(), None);
    assert_eq!(store.read_range(&missing, 0..1, &mut Kept::default()).unwrap(), None);
}

/// Writes files and refs.
pub(crate) fn check_writes(store: &dyn RemoteStore, large: usize) {
    let (small, large) = (noise(1000), noise(large));
    for content in [&small, &large] {
        let name = pack(content);
        assert_eq!(store.create(&name, &mut Cursor::new(content)).unwrap(), CreateOutcome::New);
        assert_eq!(store.create(&name, &mut Cursor::new(content)).unwrap(), CreateOutcome::Existed);
        check_reads(store, &name, content, true);
    }
    // Content that is not what the name says gets no name.
    let error = store.create(&pack(b"other"), &mut Cursor::new(&small)).unwrap_err().to_string();
    assert!(error.contains("sha256") || error.contains("SHA-256"), "{error}");
    assert_eq!(store.length(&pack(b"other")).unwrap(), None);
    for (kind, content) in [("metadata", &b"metadata"[..]), ("index", b"index")] {
        let digest = Sha256Digest::of(content);
        let name = if kind == "index" { FileName::Index(digest) } else { FileName::Image(digest) };
        assert_eq!(store.create(&name, &mut Cursor::new(content)).unwrap(), CreateOutcome::New);
    }
    let one = document([b"metadata", b"index", &small]);
    let two = document([b"metadata", b"index", &large]);
    for name in ["plain", "with/slash and \u{e4}?#%2f"].map(ref_name) {
        assert_eq!(store.read(&name, 1 << 20).unwrap(), None);
        let done = store.replace(&name, &one, &ExpectedFile::Absent).unwrap();
        assert!(matches!(done, RefReplacement::Done(_)), "{done:?}");
        assert_eq!(store.replace(&name, &two, &ExpectedFile::Absent).unwrap(), RefReplacement::Changed);
        let read = store.read(&name, 1 << 20).unwrap().unwrap();
        assert_eq!(read.bytes, one);
        let expected = ExpectedFile::Version(read.version.unwrap());
        assert!(matches!(store.replace(&name, &two, &expected).unwrap(), RefReplacement::Done(_)));
        assert_eq!(store.replace(&name, &one, &expected).unwrap(), RefReplacement::Changed);
        assert_eq!(store.read(&name, 1 << 20).unwrap().unwrap().bytes, two);
    }
}

/// Lists and removes files.
pub(crate) fn check_lists(store: &dyn RemoteStore) {
    let mut packs = store.list(FileKind::Pack).unwrap();
    packs.sort_by_key(|file| file.length);
    assert_eq!(packs.len(), 2, "{packs:?}");
    assert_eq!((packs[0].length, &packs[0].name), (1000, &pack(&noise(1000))));
    let age = packs[0].modified.elapsed().unwrap_or_default();
    assert!(age.as_secs() < 3600, "{age:?}");
    assert_eq!(store.list(FileKind::Ref).unwrap().len(), 2);
    assert_eq!((store.list(FileKind::Index).unwrap().len(), store.list(FileKind::Image).unwrap().len()), (1, 1));
    let name = &packs[0].name;
    store.delete(name).unwrap();
    store.delete(name).unwrap();
    assert_eq!(store.length(name).unwrap(), None);
    assert_eq!(store.list(FileKind::Pack).unwrap().len(), 1);
}
