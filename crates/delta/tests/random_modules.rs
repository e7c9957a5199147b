//! Kernel modules whose code, symbols and types have moved: their numbers are found, and no damage does harm.

mod support;

use std::num::NonZeroUsize;

use libcomposefs_delta::{
    Coder, DecodeError, DeltaEncoder, Effort, EncodeOptions, FrameInfo, FramePlan, FrameRule, ReadAt, decode,
    encode_frames,
};
use libcomposefs_image::{Algorithm, Digest};
use proptest::prelude::*;
use support::{decoded, encoded, text};

/// A section: its name, type, flags, the numbers of two other sections, and its bytes.
type Section = (&'static str, u32, u64, u32, u32, Vec<u8>);

fn words(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

fn noise(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// A module of functions that call each other. `gap` bytes are inserted after each tenth function, as many symbols
/// before all others, and the numbers of types and names are larger by it.
fn module(functions: u32, gap: u32, seed: u64) -> Vec<u8> {
    let start = |number: u32| number * 48 + number / 10 * gap;
    let mut code = Vec::new();
    let mut relocations = Vec::new();
    let entry = |at: u32, symbol: u32, kind: u32, addend: i64| {
        [words([at, 0, kind, symbol]), addend.to_le_bytes().to_vec()].concat()
    };
    for number in 0..functions {
        code.resize(start(number) as usize, 0xcc);
        for call in 0..4 {
            code.extend(&noise(seed + u64::from(number * 4 + call)).to_le_bytes()[..8]);
            relocations.extend(entry(code.len() as u32, 2 + gap + (number * 31 + call * 17) % functions, 4, -4));
            code.extend([0; 4]);
        }
    }
    let table = (0..functions).flat_map(|number| entry(number * 4, 1, 2, start(number).into())).collect();
    let mut names = vec![0];
    let mut symbols = [vec![0; 24], [words([0, 1 << 16 | 3]), vec![0; 16]].concat()].concat();
    let mut symbol = |name: String, section: u32, value: u32| {
        symbols.extend(words([names.len() as u32, section << 16 | 0x12, value, 0, 48, 0]));
        names.extend(name.bytes().chain([0]));
    };
    (0..gap).for_each(|number| symbol(format!("inserted_{number}"), 0, 0));
    (0..functions).for_each(|number| symbol(format!("function_{number}_{seed}"), 1, start(number)));
    let mut types = Vec::new();
    for number in 0..functions {
        let name = |offset: u32| 1000 + (number * 7 + offset) % 500 + gap;
        let kind = |offset: u32| 1 + (number * 5 + offset) % 900 + if number % 3 > 0 { gap } else { 0 };
        types.extend(words([name(0), 4 << 24 | 2, noise(number.into()) as u32]));
        types.extend(words([name(1), kind(0), 0, name(2), kind(1), 64]));
        types.extend(words([0, 2 << 24, kind(2)]));
    }
    let header = words([0x1_eb9f, 24, 0, types.len() as u32, types.len() as u32, 6]);
    let types = [header, types, b"\0name\0".to_vec()].concat();
    elf(vec![
        (".text", 1, 6, 0, 0, code),
        (".rela.text", 4, 0, 6, 1, relocations),
        (".orc_unwind_ip", 1, 2, 0, 0, vec![0; functions as usize * 4]),
        (".rela.orc_unwind_ip", 4, 0, 6, 3, table),
        (".BTF", 1, 0, 0, 0, types),
        (".symtab", 2, 0, 7, 0, symbols),
        (".strtab", 3, 0, 0, 0, names),
    ])
}

fn elf(mut sections: Vec<Section>) -> Vec<u8> {
    sections.push((".shstrtab", 3, 0, 0, 0, Vec::new()));
    let mut names = vec![0];
    let mut starts = Vec::new();
    for (name, ..) in &sections {
        starts.push(names.len() as u32);
        names.extend(name.bytes().chain([0]));
    }
    sections.last_mut().unwrap().5 = names;
    let (mut bytes, mut headers) = (vec![0; 64], vec![0; 64]);
    for (name, (_, kind, flags, link, info, content)) in starts.iter().zip(&sections) {
        headers.extend(words([*name, *kind]));
        headers.extend([*flags, 0, bytes.len() as u64, content.len() as u64].map(u64::to_le_bytes).concat());
        headers.extend(words([*link, *info, 0, 0, 0, 0]));
        bytes.extend(content);
    }
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (bytes[16], bytes[18], bytes[58]) = (1, 62, 64);
    let table = bytes.len() as u64;
    bytes[40..48].copy_from_slice(&table.to_le_bytes());
    (bytes[60], bytes[62]) = (sections.len() as u8 + 1, sections.len() as u8);
    bytes.extend(headers);
    bytes
}

/// All numbers that moved are found: the frame is a thirtieth of what it is without that.
#[test]
fn moved_numbers_cost_little() {
    let (old, new) = (module(1500, 0, 1), module(1500, 16, 1));
    let (coder, frame) = encoded(&new, &old);
    assert_eq!(coder, Coder::Modules);
    assert_eq!(decoded(coder, &frame, new.len(), &old).unwrap(), new);
    // A file of another type is a prefix as it is.
    let mut other = old.clone();
    other[16] = 4;
    let (plain, without) = encoded(&new, &other);
    assert_eq!(plain, Coder::ZstdPrefix);
    assert!(frame.len() * 30 < without.len(), "{} bytes, without changed numbers {}", frame.len(), without.len());
}

/// Several modules and another file in one frame, each with its own places, and the same numbers of types.
#[test]
fn groups_of_modules_cost_little() {
    let olds = [module(300, 0, 1), text(0..50), module(200, 0, 5000)];
    let news = [text(1..50), module(200, 16, 5000), module(300, 16, 1)];
    let name = |number: usize| Digest::new(Algorithm::Sha256, &[number as u8; 32]).unwrap();
    let named = |list: &[Vec<u8>], first| {
        list.iter().enumerate().map(|(number, one)| (name(first + number), one.len() as u64)).collect::<Vec<_>>()
    };
    let plan = FramePlan { objects: named(&news, 0), bases: named(&olds, 3) };
    let open = |digest: &Digest| -> std::io::Result<Box<dyn ReadAt>> {
        let number = usize::from(digest.as_bytes()[0]);
        Ok(Box::new(olds.iter().chain(&news).nth((number + 3) % 6).unwrap().clone()))
    };
    let options = EncodeOptions { effort: Effort::Default, threads: NonZeroUsize::MIN, spool: None };
    let mut frames = Vec::new();
    encode_frames(&[plan], &options, &open, &mut |info, bytes| {
        let mut frame = Vec::new();
        bytes.read_to_end(&mut frame)?;
        frames.push((info.clone(), frame));
        Ok(())
    })
    .unwrap();
    let [(info, frame)] = &frames[..] else { panic!("{} frames", frames.len()) };
    assert_eq!(info.coder, Coder::Modules);
    let mut found = vec![Vec::new(); 3];
    decode(info, &frame[..], &mut |digest| open(digest), &mut |number, piece| {
        found[number].extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    assert!(found == news);
    let plain = DeltaEncoder::new(Effort::Default).encode(&news.concat(), &[&text(0..1), &olds.concat()]).unwrap();
    assert_eq!(plain.0, Coder::ZstdPrefix);
    assert!(frame.len() * 15 < plain.1.len(), "{} bytes, without changed numbers {}", frame.len(), plain.1.len());
}

#[test]
fn hostile_frames_are_refused() {
    let (old, new) = (module(20, 0, 1), module(20, 8, 1));
    let (coder, mut frame) = encoded(&new, &old);
    assert_eq!(coder, Coder::Modules);
    // Without a base.
    let objects = vec![(Digest::new(Algorithm::Sha256, &[1; 32]).unwrap(), new.len() as u64)];
    let info = FrameInfo { coder, length: frame.len() as u64, objects, bases: Vec::new() };
    let result = decode(&info, &frame[..], &mut |_| Err(std::io::ErrorKind::NotFound.into()), &mut |_, _| Ok(()));
    assert!(matches!(result, Err(DecodeError::Rule { rule: FrameRule::Sizes(_), .. })), "{result:?}");
    // With bytes after the map.
    let len = u32::from_le_bytes(*frame.first_chunk().unwrap()) as usize;
    frame.insert(4 + len, 0);
    frame[..4].copy_from_slice(&(len as u32 + 1).to_le_bytes());
    let result = decoded(coder, &frame, new.len(), &old);
    assert!(matches!(result, Err(DecodeError::Rule { rule: FrameRule::Map, .. })), "{result:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_modules_come_back(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0usize..4), 1..6),
    ) {
        let (mut old, mut new) = (module(30, 0, 1), module(30, 8, 1));
        let (coder, mut frame) = encoded(&new, &old);
        prop_assert_eq!(coder, Coder::Modules);
        for (at, byte, place) in edits {
            // The file header, the section headers, anything, the frame.
            let len = old.len();
            match place {
                0 => old[at.index(64)] = byte,
                1 => old[len - 1 - at.index(9 * 64)] = byte,
                2 => (*at.get_mut(&mut old), *at.get_mut(&mut new)) = (byte, byte ^ 1),
                _ => *at.get_mut(&mut frame) = byte,
            }
        }
        let _ = decoded(coder, &frame, new.len(), &old);
        let (coder, frame) = encoded(&new, &old);
        let found = decoded(coder, &frame, new.len(), &old);
        prop_assert_eq!(found.unwrap(), new);
    }
}
