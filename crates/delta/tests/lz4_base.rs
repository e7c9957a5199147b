//! The base of a frame of unpacked LZ4 blocks: the memory that its blocks take, and errors of reading it.

mod support;

use std::fs;

use libcomposefs_delta::{Coder, DecodeError, FrameInfo, FrameRule, ReadAt, decode};
use libcomposefs_image::{Algorithm, Digest};
use support::{decoded, encoded, text};

const MAGIC: &[u8] = &[0x02, 0x21, 0x4c, 0x18];
const MIB: usize = 1 << 20;

/// A file with blocks of 8 MiB of one byte, and more than 4 MiB of lines.
fn file(blocks: usize, byte: u8) -> Vec<u8> {
    // One literal, a match of all but the last five bytes at distance 1, and these as literals.
    let rest = 8 * MIB - 6 - 4 - 15;
    let mut block = vec![0x1f, byte, 1, 0];
    block.extend(std::iter::repeat_n(255, rest / 255));
    block.extend([(rest % 255) as u8, 0x50, byte, byte, byte, byte, byte]);
    let block = [&(block.len() as u32).to_le_bytes()[..], &block].concat();
    [MAGIC, &block.repeat(blocks), &text(0..90_000)].concat()
}

/// Returns by how many bytes the memory of this process grew at most while `work` was done.
fn growth<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let status = |field: &str| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    };
    // The highest number begins again at the present one.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    let result = work();
    (status("VmHWM:").saturating_sub(before), result)
}

fn with_base(coder: Coder, frame: &[u8], size: usize, base: (&[u8], usize)) -> Result<usize, DecodeError> {
    let name = |number| Digest::new(Algorithm::Sha256, &[number; 32]).unwrap();
    let (objects, bases) = (vec![(name(1), size as u64)], vec![(name(2), base.1 as u64)]);
    let info = FrameInfo { coder, length: frame.len() as u64, objects, bases };
    let open = &mut |_: &Digest| -> std::io::Result<Box<dyn ReadAt>> { Ok(Box::new(base.0.to_vec())) };
    let mut found = 0;
    decode(&info, frame, open, &mut |_, piece| {
        found += piece.len();
        Ok(())
    })?;
    Ok(found)
}

/// One test, because the memory is that of the process.
#[test]
fn blocks_of_a_base_are_bounded_and_their_errors_are_those_of_the_base() {
    // 40 MiB unpacked: a reader needs as much, and less than 64 MiB and the size of the larger file.
    let (old, new) = (file(5, b'a'), file(5, b'b'));
    let (coder, frame) = encoded(&new, &old);
    assert_eq!(coder, Coder::Lz4);
    let (bytes, size) = growth(|| with_base(coder, &frame, new.len(), (&old, old.len())).unwrap());
    assert_eq!(size, new.len());
    assert!((40 * MIB..64 * MIB + old.len()).contains(&bytes), "{bytes} bytes of memory");
    assert_eq!(decoded(coder, &frame, new.len(), &old).unwrap(), new);

    // A base that is shorter than its description says cannot be read.
    let short = with_base(coder, &frame, new.len(), (&old[..old.len() - 1], old.len()));
    assert!(matches!(short, Err(DecodeError::Base { .. })), "{short:?}");

    // 64 MiB unpacked: a writer takes another coder, and a reader refuses such a frame before it unpacks the base.
    let (old, new) = (file(8, b'a'), file(8, b'b'));
    assert_ne!(encoded(&new, &old).0, Coder::Lz4);
    let pack = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    let map = pack(b"");
    let map = [&(map.len() as u32).to_le_bytes()[..], &map].concat();
    let frame = [&[4, 8, 1, 0][..], &pack(b"x"), &pack(b""), &map, &pack(b"")].concat();
    let (bytes, result) = growth(|| with_base(Coder::Lz4, &frame, 1, (&old, old.len())));
    let Err(DecodeError::Rule { rule: FrameRule::Lz4(rule), .. }) = result else { panic!("{result:?}") };
    assert!(rule.contains("too much memory"), "{rule}");
    assert!(bytes < 24 * MIB, "{bytes} bytes of memory");
}
