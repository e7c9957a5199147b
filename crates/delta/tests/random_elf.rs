//! Programs whose code has moved: their addresses are found, and no damage of a program's tables does harm.

use libcomposefs_delta::{Coder, DeltaEncoder, Effort, FrameInfo, ReadAt, decode};
use libcomposefs_image::{Algorithm, Digest};
use proptest::prelude::*;

const TEXT: u64 = 0x1000;
const NAMES: &[u8] = b"\0.text\0.rodata\0.data\0.rela.dyn\0.eh_frame\0.eh_frame_hdr\0.shstrtab\0";

/// A program of functions that call each other, with pointers, relocations, frames and a jump table. `gap` bytes are
/// inserted after each tenth function.
fn program(functions: u64, gap: u64) -> Vec<u8> {
    let start = |number: u64| TEXT + number * 64 + number / 10 * gap;
    let (text_size, rodata) = (start(functions) - TEXT, (start(functions) + 0xfff) & !0xfff);
    let mut text = Vec::new();
    for number in 0..functions {
        text.resize((start(number) - TEXT) as usize, 0xcc);
        for call in 0..9u64 {
            let at = TEXT + text.len() as u64;
            let target = start((number * 31 + call * 17) % functions);
            text.push(0xe8);
            text.extend((target.wrapping_sub(at + 5) as u32).to_le_bytes());
            text.push(((number * 9 + call).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8);
        }
        let at = TEXT + text.len() as u64;
        text.extend([0x48, 0x8d, 0x05]);
        text.extend((rodata.wrapping_sub(at + 7) as u32).to_le_bytes());
        text.extend([0xc3, number as u8, (number >> 8) as u8]);
    }
    text.resize(text_size as usize, 0xcc);
    let relative =
        |from: u64| (0..functions).map(move |number| (start(number).wrapping_sub(from) as u32).to_le_bytes());
    let table: Vec<u8> = relative(rodata).flatten().collect();
    let data_address = rodata + 0x10000;
    let data: Vec<u8> = (0..functions).flat_map(|number| start(number).to_le_bytes()).collect();
    let relocation = |number: u64| [data_address + number * 8, 8, start(number)].map(u64::to_le_bytes);
    let relocations: Vec<u8> = (0..functions).flat_map(relocation).flatten().collect();
    let frames_address = rodata + 0x40000;
    let mut frames = [&12u32.to_le_bytes()[..], &[0; 12]].concat();
    for number in 0..functions {
        let at = frames_address + frames.len() as u64;
        let words = [20, frames.len() as u32 + 4, start(number).wrapping_sub(at + 8) as u32, 64, 0, 0];
        frames.extend(words.into_iter().flat_map(u32::to_le_bytes));
    }
    let header = [[1, 0x1b, 3, 0x3b], [0; 4], (functions as u32).to_le_bytes()].concat();
    let pairs = relative(frames_address + 0x40000);
    let frame_table = [header, pairs.flat_map(|word| [word, [0; 4]]).flatten().collect()].concat();
    elf(&[
        (1, 1, 6, TEXT, &text),
        (7, 1, 2, rodata, &table),
        (15, 1, 3, data_address, &data),
        (21, 4, 2, rodata + 0x20000, &relocations),
        (31, 1, 2, frames_address, &frames),
        (41, 1, 2, frames_address + 0x40000, &frame_table),
        (55, 3, 0, 0, NAMES),
    ])
}

/// A kernel: absolute addresses of four bytes in code, tables relative to themselves, types, and a list of what moves.
fn kernel(functions: u64, gap: u64) -> Vec<u8> {
    let text_address = 0xffff_ffff_8100_0000;
    let start = |number: u64| text_address + number * 64 + number / 10 * gap;
    let mut text = Vec::new();
    let mut places = Vec::new();
    for number in 0..functions {
        text.resize((start(number) - text_address) as usize, 0xcc);
        for call in 0..7u64 {
            let target = start((number * 31 + call * 17) % functions);
            text.extend([0x48, 0xc7, 0xc7]);
            places.push((text_address as u32).wrapping_add(text.len() as u32));
            text.extend((target as u32).to_le_bytes());
            text.push((number >> call) as u8);
        }
    }
    let table_address = text_address + 0x100_0000;
    let relative = |number: u64| (start(number).wrapping_sub(table_address + number * 4) as u32).to_le_bytes();
    let table: Vec<u8> = (0..functions).flat_map(relative).collect();
    let data: Vec<u8> = (0..functions).flat_map(|number| start(number).to_le_bytes()).collect();
    let names = b"\0.text\0.orc_unwind_ip\0.param\0.percpu\0.BTF\0.shstrtab\0";
    // Structures whose members have other types, with numbers that are larger by the gap.
    let structure = |number: u64| {
        let (kind, size) = (4 << 24 | 1, number.wrapping_mul(0x9e37_79b9) as u32);
        let moved = |number: u64| (number + gap) as u32;
        [moved(number * 7 % 5000), kind, size, moved(number * 3 % 4000), moved(number * 11 % 3000), size >> 16]
    };
    let types: Vec<u32> = (1000..1000 + functions).flat_map(structure).collect();
    let head = [0x1_eb9f, 24, 0, types.len() as u32 * 4, types.len() as u32 * 4, 0];
    let types: Vec<u8> = head.into_iter().chain(types).flat_map(u32::to_le_bytes).collect();
    let mut bytes = elf(&[
        (1, 1, 6, text_address, &text),
        (7, 1, 2, table_address, &table),
        (22, 1, 2, text_address + 0x200_0000, &data),
        (29, 1, 3, 0, &[7; 64]),
        (37, 1, 2, text_address + 0x300_0000, &types),
        (42, 3, 0, 0, names),
    ]);
    bytes.extend(places.into_iter().flat_map(u32::to_le_bytes));
    bytes
}

/// An ELF file of sections: name, type, flags, address and bytes.
fn elf(sections: &[(u32, u32, u64, u64, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    let mut headers = Vec::new();
    for (name, kind, flags, address, content) in sections {
        headers.extend([*name, *kind].into_iter().flat_map(u32::to_le_bytes));
        let words = [*flags, *address, bytes.len() as u64, content.len() as u64, 0, 8, 0];
        headers.extend(words.into_iter().flat_map(u64::to_le_bytes));
        bytes.extend_from_slice(content);
    }
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (bytes[16], bytes[18], bytes[58]) = (3, 62, 64);
    let table = bytes.len() as u64;
    bytes[40..48].copy_from_slice(&table.to_le_bytes());
    (bytes[60], bytes[62]) = (sections.len() as u8, sections.len() as u8 - 1);
    bytes.extend(headers);
    bytes
}

fn decoded(coder: Coder, bytes: &[u8], size: usize, base: &[u8]) -> Option<Vec<u8>> {
    let name = |number| Digest::new(Algorithm::Sha256, &[number; 32]).unwrap();
    let bases = if coder.number() < 2 { Vec::new() } else { vec![(name(2), base.len() as u64)] };
    let info = FrameInfo { coder, length: bytes.len() as u64, objects: vec![(name(1), size as u64)], bases };
    let mut found = Vec::new();
    let open = &mut |_: &Digest| -> std::io::Result<Box<dyn ReadAt>> { Ok(Box::new(base.to_vec())) };
    let result = decode(&info, bytes, open, &mut |_, piece| {
        found.extend_from_slice(piece);
        Ok(())
    });
    assert!(found.len() <= size);
    result.ok().map(|()| found)
}

/// All addresses of a program that moved are found: its frame is a hundredth of what it is without that.
#[test]
fn moved_code_costs_little() {
    let (old, new) = (program(2000, 0), program(2000, 16));
    let (coder, bytes) = DeltaEncoder::new(Effort::Default).encode(&new, &[&old]).unwrap();
    assert_eq!(coder, Coder::Rebased);
    assert_eq!(decoded(coder, &bytes, new.len(), &old).as_ref(), Some(&new));
    // Two bases are a prefix as they are.
    let (plain, without) = DeltaEncoder::new(Effort::Default).encode(&new, &[&old, b"x"]).unwrap();
    assert_eq!(plain, Coder::ZstdPrefix);
    assert!(bytes.len() * 20 < without.len(), "{} bytes, without the map {}", bytes.len(), without.len());
}

#[test]
fn moved_kernels_cost_little() {
    let (old, new) = (kernel(2000, 0), kernel(2000, 16));
    let (coder, bytes) = DeltaEncoder::new(Effort::Default).encode(&new, &[&old]).unwrap();
    assert_eq!(coder, Coder::Rebased);
    assert_eq!(decoded(coder, &bytes, new.len(), &old).as_ref(), Some(&new));
    let without = DeltaEncoder::new(Effort::Default).encode(&new, &[&old, b"x"]).unwrap().1;
    assert!(bytes.len() * 20 < without.len(), "{} bytes, without the map {}", bytes.len(), without.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damaged_programs_come_back(
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 0usize..3), 1..6),
    ) {
        let (mut old, mut new) = (program(40, 0), program(40, 8));
        for (at, byte, place) in edits {
            // The file header, the section headers, anything.
            let len = old.len();
            let at = match place {
                0 => at.index(64),
                1 => len - 1 - at.index(7 * 64),
                _ => at.index(len),
            };
            old[at] = byte;
            let at = at.min(new.len() - 1);
            new[at] = byte.wrapping_add(place as u8);
        }
        for effort in [Effort::Default, Effort::Best] {
            let (coder, bytes) = DeltaEncoder::new(effort).encode(&new, &[&old]).unwrap();
            let found = decoded(coder, &bytes, new.len(), &old);
            prop_assert_eq!(found.as_ref(), Some(&new));
        }
    }

    #[test]
    fn damaged_maps_do_no_harm(at in 0usize..200, byte in any::<u8>()) {
        let (old, new) = (program(100, 0), program(100, 16));
        let (coder, mut bytes) = DeltaEncoder::new(Effort::Default).encode(&new, &[&old]).unwrap();
        let at = at.min(bytes.len() - 1);
        bytes[at] = byte;
        decoded(coder, &bytes, new.len(), &old);
        bytes.truncate(at);
        prop_assert_eq!(decoded(coder, &bytes, new.len(), &old), None);
    }
}
