//! Hostile images for the C library: it loads what the programs load, and writes the same image of it.
#![no_main]

use composefs_fuzz::{Budget, Linear, read, write};
use libcomposefs_image::{Algorithm, verity};
use libfuzzer_sys::fuzz_target;

static BUDGET: Budget =
    Budget::new("load_by_c", Linear { base: 1 << 20, per_byte: 200 }, Linear { base: 50_000_000, per_byte: 5_000 });
const VERSION: u32 = 1;

fuzz_target!(|image: &[u8]| {
    let loaded = BUDGET.check(image.len(), || composefs::fuzzing::load(image, VERSION));
    let tree = read(image).map(|loaded| loaded.tree);
    let Ok(loaded) = loaded else { return };
    let tree = tree.unwrap_or_else(|error| panic!("only the C library loads it: {error}"));
    if let (Ok(digest), Some(image)) = (loaded.again, write(&tree, VERSION)) {
        assert!(verity::digest(Algorithm::Sha256, &image).as_bytes() == digest, "the C library writes another image");
    }
});
