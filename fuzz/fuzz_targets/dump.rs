//! Hostile dumps: every one is either a tree or an error, in time and memory that its length justifies.
#![no_main]

use composefs_fuzz::{Budget, Linear, parse};
use libcomposefs_image::Algorithm;
use libcomposefs_image::dump::Options;
use libfuzzer_sys::fuzz_target;

static BUDGET: Budget =
    Budget::new("dump", Linear { base: 256 << 10, per_byte: 64 }, Linear { base: 20_000_000, per_byte: 6_500 });

fuzz_target!(|text: &[u8]| BUDGET.check(text.len(), || read(text)));

fn read(text: &[u8]) {
    for algorithm in Algorithm::ALL {
        let lenient = parse(Options { algorithm, strict: false }, text);
        let strict = parse(Options { algorithm, strict: true }, text);
        match (lenient, strict) {
            (Ok(lenient), Ok(strict)) => {
                assert_eq!(lenient.tree.inode_count(), strict.tree.inode_count());
                assert_eq!(lenient.tree.entry_count(), strict.tree.entry_count());
            }
            // Strict mode only refuses more.
            (Err(error), Ok(_)) => panic!("accepted in strict mode alone: {error}"),
            (_, Err(error)) => {
                assert!(error.line <= text.len() as u64 + 1, "{error}");
                assert!(!error.to_string().contains(char::is_control), "{error}");
            }
        }
    }
}
