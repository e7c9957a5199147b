//! Random LZ4 files: those of similar contents cost little, all come back, and damaged frames are refused.

mod support;

use std::collections::HashMap;

use libcomposefs_delta::{Coder, DecodeError, DeltaEncoder, Effort, FrameRule};
use proptest::prelude::*;
use support::{decoded, encoded, text};

const MAGIC: &[u8] = &[0x02, 0x21, 0x4c, 0x18];

/// A block with its length. Matches are those of the last place with the same four bytes.
fn block(content: &[u8]) -> Vec<u8> {
    let (mut places, mut packed, mut literals, mut at) = (HashMap::new(), vec![0; 4], 0, 0);
    let push_length = |packed: &mut Vec<u8>, len: usize| {
        packed.extend(std::iter::repeat_n(255, len.saturating_sub(15) / 255));
        packed.extend((len >= 15).then(|| ((len - 15) % 255) as u8));
    };
    while at + 12 < content.len() {
        let place = places.insert(&content[at..at + 4], at).filter(|place| at - place <= 65_535);
        let Some(place) = place else {
            at += 1;
            continue;
        };
        let equal = content[place..].iter().zip(&content[at..content.len() - 5]).take_while(|(a, b)| a == b).count();
        packed.push(((at - literals).min(15) << 4 | (equal - 4).min(15)) as u8);
        push_length(&mut packed, at - literals);
        packed.extend_from_slice(&content[literals..at]);
        packed.extend(((at - place) as u16).to_le_bytes());
        push_length(&mut packed, equal - 4);
        at += equal;
        literals = at;
    }
    packed.push(((content.len() - literals).min(15) << 4) as u8);
    push_length(&mut packed, content.len() - literals);
    packed.extend_from_slice(&content[literals..]);
    let len = packed.len() as u32 - 4;
    packed[..4].copy_from_slice(&len.to_le_bytes());
    packed
}

/// A file of blocks with something before and after them.
fn lz4(contents: &[&[u8]]) -> Vec<u8> {
    let blocks: Vec<u8> = contents.iter().flat_map(|content| block(content)).collect();
    [b"a program that unpacks", MAGIC, &blocks, &[0, 0, 0, 0x7f], b"what follows"].concat()
}

/// Changed lines, each fifth, cost less than two thirds of what they cost in packed files.
#[test]
fn unpacked_blocks_of_similar_files_cost_little() {
    let changed = |by: u64| {
        let line = |number| if number % 5 == 2 { text(number + by..number + by + 1) } else { text(number..number + 1) };
        (0..40_000).flat_map(line).collect::<Vec<u8>>()
    };
    let (old, new) = (changed(100_000), changed(200_000));
    let half = new.len() / 2;
    let (old, new) = (lz4(&[&old]), lz4(&[&new[..half], &new[half..], &[b'z'; 5000]]));
    let (coder, frame) = encoded(&new, &old);
    assert_eq!(coder, Coder::Lz4);
    assert_eq!(decoded(coder, &frame, new.len(), &old).unwrap(), new);
    let (plain, without) = DeltaEncoder::new(Effort::Default).encode(&new, &[&old, b"x"]).unwrap();
    assert_eq!(plain, Coder::ZstdPrefix);
    assert!(frame.len() * 3 < without.len() * 2, "{} bytes, packed {}", frame.len(), without.len());
}

/// Blocks that are cut off, whose matches lead before their start, and that have no content.
#[test]
fn other_files_come_back() {
    let (old, new) = (lz4(&[&text(0..3000)]), lz4(&[&text(1..3000)]));
    let comes_back = |new: &[u8], old: &[u8]| {
        let (coder, frame) = encoded(new, old);
        assert_eq!(decoded(coder, &frame, new.len(), old).unwrap(), new);
        coder
    };
    assert_eq!(comes_back(&new, &old), Coder::Lz4);
    assert_ne!(comes_back(&new[..new.len() / 2], &old), Coder::Lz4);
    assert_ne!(comes_back(&new, &old[..old.len() / 2]), Coder::Lz4);
    let of_block = |block: &[u8]| [MAGIC, &(block.len() as u32).to_le_bytes(), block].concat();
    for malformed in [&[0][..], &[], &[0x10, b'a', 2, 0, 0], &[0x10, b'a', 0, 0, 0], &[0xf0], &[0x10, b'a', 1]] {
        assert_ne!(comes_back(&[&of_block(malformed), &*text(0..20)].concat(), &old), Coder::Lz4);
    }
    // A block of 8 MiB of zeros is more than 16 times its size.
    assert_ne!(comes_back(&lz4(&[&vec![0; 8 << 20]]), &old), Coder::Lz4);
}

fn rule(result: Result<Vec<u8>, DecodeError>) -> String {
    match result {
        Err(DecodeError::Rule { rule: FrameRule::Lz4(rule), .. }) => rule,
        other => panic!("{other:?}"),
    }
}

/// Frames that no writer makes.
#[test]
fn hostile_frames_are_refused() {
    let base = [MAGIC, &block(b"abcdefgh-abcdefgh-abcdefgh")].concat();
    let of_size = |size, numbers: &[u8], outline: &[u8], ranks: &[u8], unpacked: &[u8]| {
        let pack = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
        let map = pack(b"");
        let map = [&(map.len() as u32).to_le_bytes()[..], &map].concat();
        decoded(Coder::Lz4, &[numbers, &pack(outline), &pack(ranks), &map, &pack(unpacked)].concat(), size, &base)
    };
    let frame =
        |numbers: &[u8], outline: &[u8], ranks: &[u8], content: &[u8]| of_size(14, numbers, outline, ranks, content);
    // "x", and a block with "abcd", a match of 5 bytes at distance 4 and "e".
    let numbers = [4, 1, 1, 1, 10, 1];
    let content = b"x\x09\0\0\0\x41abcd\x04\0\x10e";
    assert_eq!(frame(&numbers, b"x\x41\x10", &[0], b"abcdabcdae").unwrap(), content);
    assert_eq!(frame(&numbers, b"x\x41\x10", &[255, 4, 0], b"abcdabcdae").unwrap(), content);
    assert!(rule(frame(&[4, 2, 1, 1, 10, 1], b"x\x41\x10y", &[0], b"abcdabcdae")).contains("no such block"));
    assert!(rule(frame(&[4, 0x81, 0x20, 1, 1, 10, 1], b"", &[], b"")).contains("4096 blocks"));
    assert!(rule(frame(&[200, 1, 1, 1, 1, 10, 1], b"", &[], b"")).contains("after its end"));
    assert!(rule(frame(&[4, 1, 9, 1, 10, 1], b"x\x41\x10y", &[0], b"abcdabcdae")).contains("begin after"));
    assert!(rule(frame(&[4, 1, 1, 1, 0xff, 0x7f, 1], b"x", &[0], b"")).contains("too large"));
    assert!(rule(frame(&numbers, b"x\x41\x10", &[1], b"abcdabcdae")).contains("stands for no match"));
    assert!(rule(frame(&numbers, b"x\x41\x10", &[], b"abcdabcdae")).contains("stands for no match"));
    assert!(rule(frame(&numbers, b"x\x41\x10", &[0, 0], b"abcdabcdae")).contains("more blocks or ranks"));
    assert!(rule(frame(&numbers, b"x\x4f\x10\x10", &[0], b"abcdabcdae")).contains("longer than its block"));
    assert!(rule(frame(&numbers, b"x\xf1\xff\0\x10", &[0], b"abcdabcdae")).contains("literals"));
    assert!(rule(frame(&numbers, b"x\x41\0", &[0], b"abcdabcdae")).contains("longer than its matches"));
    assert!(rule(frame(&numbers, b"x\x41", &[0], b"abcdabcdae")).contains("too early"));
    assert!(rule(frame(&numbers, b"x\x41\x10", &[0], b"abcdabcda")).contains("too short"));
    assert!(rule(frame(&numbers, &[0; 15], &[0], b"abcdabcdae")).contains("more lengths"));
    let long = frame(&numbers, b"x\x41\x10", &[0], b"abcdabcdaef");
    assert!(
        matches!(long, Err(DecodeError::Rule { rule: FrameRule::TooLong | FrameRule::Compressed(_), .. })),
        "{long:?}"
    );
    let short = of_size(15, &numbers, b"x\x41\x10", &[0], b"abcdabcdae");
    assert!(matches!(short, Err(DecodeError::Rule { rule: FrameRule::TooShort, .. })), "{short:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn damage_is_refused_or_harmless(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0usize..3), 1..4),
    ) {
        let (mut old, mut new) = (lz4(&[&text(0..300), &text(7..90)]), lz4(&[&text(2..300), &text(7..99)]));
        let (coder, mut frame) = encoded(&new, &old);
        prop_assert_eq!(coder, Coder::Lz4);
        for (at, byte, place) in edits {
            match place {
                0 => *at.get_mut(&mut frame) = byte,
                1 => *at.get_mut(&mut old) = byte,
                _ => *at.get_mut(&mut new) = byte,
            }
        }
        let _ = decoded(coder, &frame, new.len(), &old);
        let (coder, frame) = encoded(&new, &old);
        prop_assert_eq!(decoded(coder, &frame, new.len(), &old).unwrap(), new);
    }
}
