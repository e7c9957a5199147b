//! What a remote gives: documents of refs, indexes, and the frames of packs that an index describes.
#![no_main]

use std::io;

use composefs_fuzz::{Budget, Linear};
use libcomposefs_delivery::{ImageIndex, RefDocument};
use libcomposefs_delta::{ReadAt, decode};
use libcomposefs_image::Digest;
use libfuzzer_sys::fuzz_target;

// An index may have 16 times as many bytes as the input and a MiB, and its lists some times as many in memory; the
// buffers of a decoder do not depend on the input.
static BUDGET: Budget =
    Budget::new("remote", Linear { base: 12 << 20, per_byte: 400 }, Linear { base: 60_000_000, per_byte: 10_000 });
/// Most frames of one input that are decoded.
const FRAMES_MAX: usize = 16;
/// Most bytes that a frame may declare to be decoded here.
const SIZE_MAX: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => document(rest),
        1 => index_and_pack(rest),
        _ => {
            let _ = BUDGET.check(bytes.len(), || ImageIndex::parse(rest));
        }
    }
});

fn document(text: &[u8]) {
    let Ok(document) = BUDGET.check(text.len(), || RefDocument::parse(text)) else { return };
    // With indentation it may be too long.
    let Ok(text) = document.to_text() else { return };
    let again = RefDocument::parse(&text).expect("what was written is read");
    assert!(again.files().eq(document.files()) && again.image == document.image);
    assert_eq!(again.records.len(), document.records.len());
}

/// An uncompressed index, its length before it, and a pack.
fn index_and_pack(bytes: &[u8]) {
    let Some((&[low, high], rest)) = bytes.split_first_chunk::<2>() else { return };
    let (content, pack) = rest.split_at(usize::from(u16::from_le_bytes([low, high])).min(rest.len()));
    let Ok(file) = zstd::bulk::compress(content, 1) else { return };
    let Ok(index) = BUDGET.check(content.len(), || ImageIndex::parse(&file)) else { return };
    let written = index.to_bytes().expect("what was read keeps the rules");
    assert_eq!(ImageIndex::parse(&written).expect("what was written is read"), index);
    for frame in index.frames.iter().take(FRAMES_MAX) {
        let info = index.frame_info(frame).expect("a frame that was read has its objects");
        let (Ok(start), Ok((size, bases))) = (usize::try_from(frame.offset), info.sizes()) else { continue };
        if size.max(bases) > SIZE_MAX {
            continue;
        }
        let mut found = 0;
        let base = &mut |_: &Digest| -> io::Result<Box<dyn ReadAt>> { Ok(Box::new(pack.to_vec())) };
        let input = pack.get(start..).unwrap_or_default();
        let decoded = decode(&info, input, base, &mut |_, piece| {
            found += piece.len() as u64;
            Ok(())
        });
        assert!(found <= size && (decoded.is_err() || found == size), "{found} of {size} bytes");
    }
}
