//! Random gzip files: those of similar contents cost little, all come back, and damaged tokens are refused.

mod support;

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use libcomposefs_delta::{Coder, DecodeError, FrameRule};
use proptest::prelude::*;
use support::{decoded, encoded, text};

fn gzip(content: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A line more costs a tenth of the compressed file, of each level, and of several members in other bytes.
#[test]
fn tokens_of_similar_files_cost_little() {
    for level in 1..=9 {
        let (old, new) = (gzip(&text(0..1000), level), gzip(&[b"new\n", &*text(0..1000)].concat(), level));
        let (coder, frame) = encoded(&new, &old);
        assert_eq!(coder, Coder::Tokens, "level {level}");
        assert!(frame.len() * 10 < new.len(), "level {level}: {} of {} bytes", frame.len(), new.len());
        assert_eq!(decoded(coder, &frame, new.len(), &old).unwrap(), new);

        let old = [b"head", &*old, b"between", &*gzip(&text(5000..6000), level)].concat();
        let new = [&*gzip(&text(5001..6000), level), &*new, b"rest"].concat();
        let (coder, frame) = encoded(&new, &old);
        assert_eq!(coder, Coder::Tokens, "level {level}");
        assert!(frame.len() * 5 < new.len(), "level {level}: {} of {} bytes", frame.len(), new.len());
        assert_eq!(decoded(coder, &frame, new.len(), &old).unwrap(), new);
    }
}

/// Stored blocks, streams without a gzip header, and streams that break off.
#[test]
fn other_streams_come_back() {
    let (old, new) = (gzip(&text(0..500), 0), gzip(&text(1..500), 0));
    let (coder, frame) = encoded(&new, &old);
    assert_eq!(decoded(coder, &frame, new.len(), &old).unwrap(), new);
    let raw = |content: &[u8]| {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    let (old, new) = (raw(&text(0..500)), raw(&text(1..500)));
    assert_ne!(encoded(&new, &old).0, Coder::Tokens);
    let (old, mut new) = (gzip(&text(0..500), 6), gzip(&text(1..500), 6));
    new.truncate(new.len() / 2);
    let (coder, frame) = encoded(&new, &old);
    assert_ne!(coder, Coder::Tokens);
    assert_eq!(decoded(coder, &frame, new.len(), &old).unwrap(), new);
}

fn rule(result: Result<Vec<u8>, DecodeError>) -> String {
    match result {
        Err(DecodeError::Rule { rule: FrameRule::Tokens(rule), .. }) => rule,
        other => panic!("{other:?}"),
    }
}

/// Forms that no writer makes.
#[test]
fn hostile_tokens_are_refused() {
    let base = gzip(&text(0..10), 6);
    let frame = |gaps: &[u8], form: &[u8]| [gaps, &zstd::bulk::compress(form, 1).unwrap()].concat();
    let of_form = |form: &[u8], size| decoded(Coder::Tokens, &frame(&[0], form), size, &base);
    assert_eq!(of_form(b"\x05hello", 5).unwrap(), b"hello");
    // A fixed block: "a", then a match of 3 bytes at distance 1, and no padding or trailer.
    assert_eq!(of_form(b"\0\x03\x01a\x01\0\0\0\0\0\0\0", 4).unwrap(), [0x4b, 4, 2, 0]);
    assert!(rule(of_form(b"\0\x03\x01a\x01\x80\0\0\0\0\0\0", 4)).contains("distance"));
    assert!(rule(of_form(b"\0\x03\x01a\x01\0", 4)).contains("too early"));
    assert!(rule(of_form(b"\x05hell", 5)).contains("too early"));
    assert!(rule(of_form(b"\0\x07", 5)).contains("block"));
    assert!(rule(of_form(b"\0\x01\0\x01\0\0\x01\0\0", 5)).contains("no code"));
    assert!(rule(of_form(&[0xff; 12], 5)).contains("number"));
    assert!(matches!(of_form(b"\x05hello", 4), Err(DecodeError::Rule { decoded: 4, rule: FrameRule::TooLong, .. })));
    assert!(matches!(of_form(b"\x05hello", 6), Err(DecodeError::Rule { rule: FrameRule::TooShort, .. })));
    // The streams of the base: one that is there, one that is not, one beyond the end, and too many.
    let of_gaps = |gaps: &[u8]| decoded(Coder::Tokens, &frame(gaps, b"\x05hello"), 5, &base);
    assert_eq!(of_gaps(&[1, 10]).unwrap(), b"hello");
    assert!(rule(of_gaps(&[1, 0])).contains("reserved"));
    assert!(rule(of_gaps(&[1, 0xff, 0x7f])).contains("beyond"));
    assert!(rule(of_gaps(&[0x81, 0x80, 4])).contains("65,536"));
    assert!(rule(of_form(&[0; 200], 5)).contains("too many"));
    let sizes = decoded(Coder::Tokens, &frame(&[0], b"\0"), (8 << 20) + 1, &base);
    assert!(matches!(sizes, Err(DecodeError::Rule { rule: FrameRule::Sizes(_), .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damage_is_refused_or_harmless(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0usize..3), 1..4),
        level in 0u32..10,
    ) {
        let (mut old, mut new) = (gzip(&text(0..60), level), gzip(&text(2..60), level));
        let (coder, mut frame) = encoded(&new, &old);
        for (at, byte, place) in edits {
            match place {
                0 => *at.get_mut(&mut frame) = byte,
                1 => *at.get_mut(&mut old) = byte,
                _ => *at.get_mut(&mut new) = byte,
            }
        }
        let _ = decoded(coder, &frame, new.len(), &old);
        // Damaged files are contents like others.
        let (coder, frame) = encoded(&new, &old);
        prop_assert_eq!(decoded(coder, &frame, new.len(), &old).unwrap(), new);
    }
}
