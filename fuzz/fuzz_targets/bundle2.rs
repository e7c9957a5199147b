//! Hostile bundles of version 2: every one is read to its end or refused with a place within it, and no more is read
//! than is there.
#![no_main]

use std::io::Read;

use composefs_fuzz::{Budget, Linear};
use libcomposefs_repo::bundle::{FormatError, TypedRecord, TypedRecordReader};
use libfuzzer_sys::fuzz_target;

static BUDGET: Budget =
    Budget::new("bundle2", Linear { base: 160 << 10, per_byte: 16 }, Linear { base: 5_000_000, per_byte: 1_000 });

fuzz_target!(|bytes: &[u8]| {
    let Err(error) = BUDGET.check(bytes.len(), || read(bytes)) else { return };
    if let FormatError::Rule(offset, rule) = error {
        assert!(offset <= bytes.len() as u64, "{offset}: {rule}");
        assert!(!rule.contains(char::is_control), "{rule}");
    }
});

fn read(bytes: &[u8]) -> Result<(), FormatError> {
    let mut reader = TypedRecordReader::new(bytes)?;
    let mut content = Vec::new();
    while let Some(record) = reader.next_record()? {
        content.clear();
        let before = reader.offset();
        reader.read_to_end(&mut content)?;
        assert_eq!(reader.offset() - before, content.len() as u64);
        if let TypedRecord::Frame(frame) | TypedRecord::Image { frame, .. } = record {
            assert_eq!(frame.length, content.len() as u64);
        }
    }
    assert_eq!(reader.offset(), bytes.len() as u64);
    Ok(())
}
