use libcomposefs_delta::Coder;
use libcomposefs_image::{Algorithm, Digest};
use proptest::prelude::*;

use super::*;
use crate::Sha256Digest;

fn digest(number: u8) -> Digest {
    Digest::new(Algorithm::Sha256, &[number; 32]).unwrap()
}

fn index() -> ImageIndex {
    ImageIndex {
        image: RefImage { digest: digest(1), size: 4096 },
        packs: vec![FileEntry { sha256: Sha256Digest::of(b"pack"), size: 100 }],
        objects: vec![(digest(2), 10), (digest(3), 20)],
        others: vec![(digest(4), 30)],
        frames: vec![
            IndexFrame { pack: 0, offset: 0, length: 60, coder: Coder::Zstd, objects: vec![1, 2], bases: vec![] },
            IndexFrame { pack: 0, offset: 60, length: 40, coder: Coder::ZstdPrefix, objects: vec![1], bases: vec![3] },
        ],
        records: vec![(7, b"kept".to_vec())],
    }
}

#[test]
fn an_index_is_read_as_it_is_written() {
    let index = index();
    let bytes = index.to_bytes().unwrap();
    let read = ImageIndex::parse(&bytes).unwrap();
    assert_eq!(read, index);
    assert_eq!(read.to_bytes().unwrap(), bytes);
    assert_eq!(read.entry(0), Some((digest(1), 4096)));
    assert_eq!(read.entry(3), Some((digest(4), 30)));
    assert_eq!(read.entry(4), None);
}

#[test]
fn broken_indexes_are_refused() {
    let refused = |change: &dyn Fn(&mut ImageIndex)| {
        let mut index = index();
        change(&mut index);
        ImageIndex::parse_content(&index.content().unwrap()).unwrap_err().to_string()
    };
    assert!(refused(&|index| index.records[0].0 |= CRITICAL).contains("critical record of type 0x8007"));
    assert!(refused(&|index| index.objects[1] = index.objects[0]).contains("listed twice"));
    assert!(refused(&|index| index.objects[1].0 = index.image.digest).contains("listed twice"));
    assert!(refused(&|index| index.frames[1].length = 41).contains("ends after its pack"));
    assert!(refused(&|index| index.frames[1].offset = u64::MAX).contains("no pack"));
    assert!(refused(&|index| index.frames[1].pack = 1).contains("no pack"));
    assert!(refused(&|index| index.frames[1].bases = vec![4]).contains("without an object"));
    assert!(refused(&|index| index.frames[0].objects = vec![]).contains("number of objects"));
    assert!(refused(&|index| index.objects[0].1 = 1 << 20).contains("1 MiB"));
    assert!(refused(&|index| index.objects[0].1 = u64::MAX).contains("63 bits"));
    assert!(refused(&|index| index.records.push((FRAMES, Vec::new()))).contains("twice"));
    let content = index().content().unwrap();
    for len in 0..content.len() {
        assert!(ImageIndex::parse_content(&content[..len]).is_err(), "{len}");
    }
    assert!(ImageIndex::parse_content(&[&content[..], b"x"].concat()).is_err());
    let bomb = zstd::bulk::compress(&vec![0; 8 << 20], 1).unwrap();
    assert!(ImageIndex::parse(&bomb).unwrap_err().to_string().contains("too long"));
}

proptest! {
    #[test]
    fn damaged_indexes_never_panic(at in 0usize..400, value: u8) {
        let mut content = index().content().unwrap();
        let len = content.len();
        content[at % len] = value;
        let _ = ImageIndex::parse_content(&content);
    }
}
