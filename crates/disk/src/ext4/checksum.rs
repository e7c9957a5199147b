//! CRC-32C as ext4 uses it: without a final inversion, so that checksums continue each other.

use crc::{Algorithm, Crc};

/// CRC-32C without the initial and the final inversion.
const RAW: Algorithm<u32> = Algorithm {
    width: 32,
    poly: 0x1edc_6f41,
    init: 0,
    refin: true,
    refout: true,
    xorout: 0,
    check: 0x58e3_fa20,
    residue: 0,
};
static CRC32C: Crc<u32> = Crc::<u32>::new(&RAW);

/// Initial value of the checksums that depend on nothing before.
pub(super) const START: u32 = u32::MAX;

/// Continues a checksum.
pub(super) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    // The crate expects the initial value in the order of the polynomial's bits.
    let mut digest = CRC32C.digest_with_initial(seed.reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_continue_each_other() {
        // The check value of CRC-32C is the inversion of that of `crc32c` with the initial value of ones.
        assert_eq!(crc32c(START, b"123456789"), !0xe306_9283);
        assert_eq!(crc32c(crc32c(START, b"1234"), b"56789"), crc32c(START, b"123456789"));
    }
}
