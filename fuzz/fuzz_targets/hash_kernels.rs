//! Every kernel that this CPU has, beside the sha2 crate: any number of blocks, any last block, messages of any length.
#![no_main]

use composefs_fuzz::{Budget, Linear, many_blocks, reference_blocks, reference_hash};
use libcomposefs_hash::{Family, Kernel, hash_message};
use libfuzzer_sys::fuzz_target;

static BUDGET: Budget =
    Budget::new("hash_kernels", Linear { base: 1 << 20, per_byte: 8 }, Linear { base: 20_000_000, per_byte: 20_000 });

fuzz_target!(|input: &[u8]| {
    let Some((data, seed)) = many_blocks(input) else { return };
    BUDGET.check(data.len(), || compare(&data, seed));
});

fn compare(data: &[u8], seed: &[u8]) {
    for family in [Family::Sha256, Family::Sha512] {
        blocks(family, data, seed);
        messages(family, data, seed);
        assert_eq!(hash_message(family, seed)[..family.hash_len()], reference_hash(family, seed));
    }
}

fn blocks(family: Family, data: &[u8], seed: &[u8]) {
    let want = reference_blocks(family, data);
    // What the vector holds before stays.
    let before = &seed[..seed.len().min(100)];
    for kernel in Kernel::available(family) {
        let mut got = before.to_vec();
        kernel.hash_blocks(family, data, &mut got);
        assert!(got.starts_with(before) && got[before.len()..] == want, "{kernel:?} {family:?} {} bytes", data.len());
    }
}

/// The seed determines the length of the messages, and the data holds as many of them as fit.
fn messages(family: Family, data: &[u8], seed: &[u8]) {
    let Some(&[unit, rest]) = seed.first_chunk() else { return };
    // Every other length is one that the kernels take.
    let len = usize::from(unit) * 8 + if rest % 2 == 0 { 128 - usize::from(unit) * 8 % 128 } else { 1 };
    let messages = &data[..data.len().min(40 * len) / len * len];
    let want: Vec<u8> = messages.chunks(len).flat_map(|message| reference_hash(family, message)).collect();
    for kernel in Kernel::available(family) {
        let mut got = Vec::new();
        kernel.hash_messages(family, len, messages, &mut got);
        assert!(got == want, "{kernel:?} {family:?} {} messages of {len}", messages.len() / len);
    }
}
