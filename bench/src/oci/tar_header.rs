//! Headers of archives that are made here.

/// Returns the header of a file of `size` bytes or of a directory: `kind` is `0` or `5`.
pub(super) fn header(path: &str, size: u64, kind: u8) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, path);
    put(100, if kind == b'5' { "0000755" } else { "0000644" });
    for at in [108, 116] {
        put(at, "0000000");
    }
    put(124, &format!("{size:011o}"));
    put(136, "14524544400");
    put(148, "        ");
    put(257, "ustar\x0000");
    block[156] = kind;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
