//! Texts for packed files, and frames of one object with one base.

use libcomposefs_delta::{Coder, DecodeError, DeltaEncoder, Effort, FrameInfo, ReadAt, decode};
use libcomposefs_image::{Algorithm, Digest};

/// Lines that have words in common.
pub(crate) fn text(lines: std::ops::Range<u64>) -> Vec<u8> {
    let words = ["file", "directory", "the", "option", "of", "prints", "which", "is", "a", "kernel"];
    let line = |number: u64| {
        let mut seed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let words = (0..9).map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            words[(seed >> 40) as usize % words.len()]
        });
        format!("{number} {}\n", words.collect::<Vec<_>>().join(" "))
    };
    lines.flat_map(|number| line(number).into_bytes()).collect()
}

/// Decodes a frame of one object.
pub(crate) fn decoded(coder: Coder, frame: &[u8], size: usize, base: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let name = |number| Digest::new(Algorithm::Sha256, &[number; 32]).unwrap();
    let bases = if coder.number() < 2 { Vec::new() } else { vec![(name(2), base.len() as u64)] };
    let info = FrameInfo { coder, length: frame.len() as u64, objects: vec![(name(1), size as u64)], bases };
    let mut found = Vec::new();
    let open = &mut |_: &Digest| -> std::io::Result<Box<dyn ReadAt>> { Ok(Box::new(base.to_vec())) };
    let result = decode(&info, frame, open, &mut |_, piece| {
        found.extend_from_slice(piece);
        Ok(())
    });
    assert!(found.len() <= size);
    result.map(|()| found)
}

/// Encodes an object with one base.
pub(crate) fn encoded(content: &[u8], base: &[u8]) -> (Coder, Vec<u8>) {
    DeltaEncoder::new(Effort::Default).encode(content, &[base]).unwrap()
}
