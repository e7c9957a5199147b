//! Hostile objects of ostree: each is read or refused, as whatever it says it is; what is read says no more than is
//! there, and the header of a file that was read can be hashed.
#![no_main]

use composefs_fuzz::{Budget, Linear};
use libcomposefs_ostree::objects::{CommitObject, DirTree, FileHeader, Metadata};
use libfuzzer_sys::fuzz_target;

static BUDGET: Budget =
    Budget::new("ostree", Linear { base: 64 << 10, per_byte: 32 }, Linear { base: 5_000_000, per_byte: 100 });

fuzz_target!(|bytes: &[u8]| BUDGET.check(bytes.len(), || parse(bytes)));

fn parse(bytes: &[u8]) {
    if let Ok(commit) = CommitObject::parse(bytes) {
        assert!(commit.digest.is_none_or(|digest| digest.len() <= bytes.len()));
    }
    if let Ok(tree) = DirTree::parse(bytes) {
        // A name takes a byte, its end, and a checksum of 32.
        assert!(tree.files.len() + tree.directories.len() <= bytes.len());
    }
    if let Ok(metadata) = Metadata::parse(bytes) {
        assert!(metadata.xattrs.iter().all(|(name, _)| !name.is_empty() && !name.contains(&0)));
        let header = FileHeader { metadata, target: String::new() };
        assert!(header.hasher().is_ok());
    }
    if let Ok((header, _)) = FileHeader::parse_archived(bytes) {
        assert!(header.hasher().is_ok() || header.target.contains('\0'));
    }
}
