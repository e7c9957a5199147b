//! Random contents and bases: what is encoded decodes to the same bytes, and damaged frames never give more bytes than
//! declared.

use std::io;
use std::num::NonZeroUsize;

use libcomposefs_delta::{
    Coder, DecodeError, DeltaEncoder, Effort, EncodeOptions, FrameInfo, FramePlan, FrameRule, ReadAt, decode,
    encode_frames,
};
use libcomposefs_image::verity::Hasher;
use libcomposefs_image::{Algorithm, Digest};
use proptest::prelude::*;

fn named(content: &[u8]) -> (Digest, u64) {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(content);
    (hasher.finish(), content.len() as u64)
}

fn decoded(info: &FrameInfo, bytes: &[u8], bases: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, DecodeError> {
    let mut objects = vec![Vec::new(); info.objects.len()];
    let mut called = vec![false; info.objects.len()];
    let open = &mut |digest: &Digest| -> io::Result<Box<dyn ReadAt>> {
        let base = bases.iter().find(|base| named(base).0 == *digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(base.clone()))
    };
    let result = decode(info, bytes, open, &mut |object, piece| {
        called[object] = true;
        objects[object].extend_from_slice(piece);
        Ok(())
    });
    for (object, (_, size)) in objects.iter().zip(&info.objects) {
        assert!(object.len() as u64 <= *size, "an object is longer than declared");
    }
    result?;
    assert!(called.iter().all(|called| *called), "an object got no call");
    Ok(objects)
}

fn frame(objects: &[Vec<u8>], bases: &[Vec<u8>], effort: Effort) -> (FrameInfo, Vec<u8>) {
    let (coder, bytes) = DeltaEncoder::new(effort)
        .encode(&objects.concat(), &bases.iter().map(Vec::as_slice).collect::<Vec<_>>())
        .unwrap();
    let uses_bases = !matches!(coder, Coder::Stored | Coder::Zstd);
    let bases = if uses_bases { bases.iter().map(|base| named(base)).collect() } else { Vec::new() };
    let objects = objects.iter().map(|object| named(object)).collect();
    (FrameInfo { coder, length: bytes.len() as u64, objects, bases }, bytes)
}

/// A base, and contents made of it by a few edits.
fn edited() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<Vec<u8>>)> {
    let base = proptest::collection::vec(any::<u8>(), 0..6000);
    let edits = proptest::collection::vec((0usize..6000, 0usize..300, any::<u8>()), 0..8);
    let rest = proptest::collection::vec(proptest::collection::vec(0u8..4, 0..200), 0..4);
    (base, edits, rest).prop_map(|(base, edits, rest)| {
        let mut content = base.clone();
        for (at, len, byte) in edits {
            let at = at.min(content.len());
            let end = (at + len).min(content.len());
            match byte % 3 {
                0 => drop(content.drain(at..end)),
                1 => content[at..end].fill(byte),
                _ => drop(content.splice(at..at, std::iter::repeat_n(byte, len))),
            }
        }
        let mut objects = vec![content];
        objects.extend(rest);
        (objects, vec![base, b"another base".to_vec()])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_give_their_objects((objects, bases) in edited()) {
        for effort in [Effort::Default, Effort::Best] {
            let (info, bytes) = frame(&objects, &bases, effort);
            prop_assert_eq!(decoded(&info, &bytes, &bases).unwrap(), objects.clone());
        }
    }

    #[test]
    fn damage_is_refused_or_harmless(
        (objects, bases) in edited(), at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let (mut info, mut bytes) = frame(&objects, &bases, Effort::Default);
        if bytes.is_empty() {
            return Ok(());
        }
        let at = at.index(bytes.len());
        if cut {
            bytes.truncate(at);
            prop_assert!(decoded(&info, &bytes, &bases).is_err());
            info.length = at as u64;
            prop_assert!(decoded(&info, &bytes, &bases).is_err());
        } else {
            bytes[at] = byte;
            let _ = decoded(&info, &bytes, &bases);
        }
    }
}

/// Sizes that lie, in either direction, are refused with the number of decoded bytes.
#[test]
fn lies_about_sizes_are_refused() {
    let (objects, bases) = (vec![b"some content ".repeat(50)], vec![b"some base ".repeat(40)]);
    let (info, bytes) = frame(&objects, &bases, Effort::Default);
    assert_eq!(info.coder, Coder::ZstdPrefix);
    assert_eq!(decoded(&info, &bytes, &bases).unwrap(), objects);
    let lie = |size: u64| {
        let mut info = info.clone();
        info.objects[0].1 = size;
        decoded(&info, &bytes, &bases)
    };
    assert!(matches!(lie(649), Err(DecodeError::Rule { decoded: 649, rule: FrameRule::TooLong, .. })));
    assert!(matches!(lie(651), Err(DecodeError::Rule { decoded: 650, rule: FrameRule::TooShort, .. })));
    let mut trailing = info.clone();
    trailing.length += 1;
    let more = [bytes.as_slice(), b"x"].concat();
    assert!(matches!(decoded(&trailing, &more, &bases), Err(DecodeError::Rule { rule: FrameRule::Trailing, .. })));
    assert!(matches!(decoded(&info, &more, &bases), Ok(found) if found == objects));
    let unknown = FrameInfo { coder: Coder::from_number(99), ..info.clone() };
    let error = decoded(&unknown, &bytes, &bases).unwrap_err();
    assert!(error.to_string().contains("coder 99"), "{error}");
    let missing = decoded(&info, &bytes, &[]).unwrap_err();
    assert!(matches!(missing, DecodeError::Base { .. }));
    let mut many = info;
    many.objects = vec![(many.objects[0].0, u64::MAX), (many.objects[0].0, 2)];
    assert!(matches!(decoded(&many, &bytes, &bases), Err(DecodeError::Rule { rule: FrameRule::Sizes(_), .. })));
}

/// A frame whose window is larger than its content is refused before the window is allocated.
#[test]
fn windows_are_bounded() {
    let content = b"window".repeat(100);
    let mut info = frame(std::slice::from_ref(&content), &[], Effort::Default).0;
    // Magic, no content size, a window of 64 MiB, one empty last block.
    let bomb = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 16 << 3, 1, 0, 0];
    info.length = bomb.len() as u64;
    let error = decoded(&info, &bomb, &[]).unwrap_err();
    assert!(matches!(&error, DecodeError::Rule { rule: FrameRule::Compressed(_), .. }), "{error:?}");
    let small = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0, 1, 0, 0];
    let error = decoded(&info, &small, &[]).unwrap_err();
    assert!(matches!(&error, DecodeError::Rule { rule: FrameRule::TooShort, .. }), "{error:?}");
}

/// The bytes do not depend on the number of threads, and objects larger than a segment come back.
#[test]
fn threads_do_not_change_the_bytes() {
    let word = |number: usize| (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    let base: Vec<u8> = (0..5_000_000).flat_map(word).collect();
    let mut large = base.clone();
    large.splice(100..200, *b"changed");
    let contents: Vec<Vec<u8>> = (0..20).map(|number| base[number * 1000..number * 3000].to_vec()).collect();
    let mut all = contents.clone();
    all.extend([base.clone(), large.clone()]);
    let mut plans: Vec<_> = contents
        .iter()
        .map(|content| FramePlan { objects: vec![named(content)], bases: vec![named(&contents[7])] })
        .collect();
    plans.push(FramePlan { objects: vec![named(&large)], bases: vec![named(&base)] });
    let names: Vec<_> = all.iter().map(|content| named(content).0).collect();
    let open = |digest: &Digest| -> io::Result<Box<dyn ReadAt>> {
        let at = names.iter().position(|name| name == digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(all[at].clone()))
    };
    let encoded = |threads: usize| {
        let threads = NonZeroUsize::new(threads).unwrap();
        let options = EncodeOptions { effort: Effort::Default, threads, spool: None };
        let mut frames = Vec::new();
        encode_frames(&plans, &options, &open, &mut |info, bytes| {
            let mut kept = Vec::new();
            bytes.read_to_end(&mut kept)?;
            frames.push((info.clone(), kept));
            Ok(())
        })
        .unwrap();
        frames
    };
    let frames = encoded(1);
    assert!(frames == encoded(3));
    for ((info, bytes), plan) in frames.iter().zip(&plans) {
        assert_eq!(info.objects, plan.objects);
        let found = decoded(info, bytes, &all).unwrap();
        assert_eq!(named(&found[0]), info.objects[0]);
    }
    let (info, bytes) = frames.last().unwrap();
    assert!(info.objects[0].1 > 32 << 20 && bytes.len() < 100_000, "{} bytes", bytes.len());
}
