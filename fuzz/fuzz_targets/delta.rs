//! Frames of every coder: hostile ones give no more than their declared size within the budget, and what is encoded
//! decodes to the same bytes.
#![no_main]

use std::io;

use composefs_fuzz::{Budget, Linear};
use libcomposefs_delta::{Coder, DecodeError, DeltaEncoder, Effort, FrameInfo, ReadAt, decode};
use libcomposefs_image::{Algorithm, Digest};
use libfuzzer_sys::fuzz_target;

// The buffers of a decoder and the tables of an encoder do not depend on the input. The tokens of an object of 64 KiB,
// which a few bytes declare, take up to 1 MiB.
static BUDGET: Budget =
    Budget::new("delta", Linear { base: 4 << 20, per_byte: 100 }, Linear { base: 30_000_000, per_byte: 5_000 });

fuzz_target!(|bytes: &[u8]| {
    // The coder, the size of the object and that of the base; then the base and the frame.
    let Some((&[coder, size @ .., base_low, base_high], rest)) = bytes.split_first_chunk::<5>() else { return };
    let base_len = usize::from(u16::from_le_bytes([base_low, base_high])).min(rest.len());
    let (base, rest) = rest.split_at(base_len);
    if coder >= 0x80 {
        let (coder, frame) =
            BUDGET.check(bytes.len(), || DeltaEncoder::new(Effort::Default).encode(rest, &[base])).expect("it fits");
        let found = decoded(coder, &frame, rest.len() as u64, base).expect("what was encoded is decoded");
        assert!(found == rest, "a content did not come back");
        return;
    }
    let size = u64::from(u16::from_le_bytes(size));
    let _ = BUDGET.check(bytes.len(), || decoded(Coder::from_number(coder), rest, size, base));
});

fn decoded(coder: Coder, frame: &[u8], size: u64, base: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let name = |number| Digest::new(Algorithm::Sha256, &[number; 32]).expect("a digest has 32 bytes");
    let bases = if coder.number() < 2 { Vec::new() } else { vec![(name(2), base.len() as u64)] };
    let info = FrameInfo { coder, length: frame.len() as u64, objects: vec![(name(1), size)], bases };
    let mut found = Vec::new();
    let open = &mut |_: &Digest| -> io::Result<Box<dyn ReadAt>> { Ok(Box::new(base.to_vec())) };
    let result = decode(&info, frame, open, &mut |_, piece| {
        found.extend_from_slice(piece);
        Ok(())
    });
    assert!(found.len() as u64 <= size, "{} of {size} bytes", found.len());
    result.map(|()| {
        assert_eq!(found.len() as u64, size);
        found
    })
}
