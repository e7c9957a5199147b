//! Hostile images: every one is either a tree or an error, and a tree that was read can be written and read again.
#![no_main]

use composefs_fuzz::{Budget, Linear, read, write};
use libcomposefs_image::erofs::check::{Severity, check};
use libcomposefs_image::erofs::read::{ImageReader, RawContent, load};
use libfuzzer_sys::fuzz_target;

static BUDGET: Budget =
    Budget::new("image", Linear { base: 1 << 20, per_byte: 100 }, Linear { base: 50_000_000, per_byte: 4_000 });

fuzz_target!(|bytes: &[u8]| BUDGET.check(bytes.len(), || look(bytes)));

fn look(bytes: &[u8]) {
    let report = check(bytes);
    let is_refused = ImageReader::new(bytes).and_then(|reader| load(&reader, &[])).is_err();
    assert!(!is_refused || report.count(Severity::Error) > 0, "what is refused is sound to the check");
    let Ok(reader) = ImageReader::new(bytes) else { return };
    look_at_inodes(&reader);
    let Ok(loaded) = load(&reader, &[]) else { return };
    // Every byte belongs to one thing: a small image has a small tree.
    assert!(loaded.tree.inode_count() <= bytes.len() / 32 && loaded.tree.entry_count() <= bytes.len() / 13);
    let mut text = Vec::new();
    loaded.emit_dump(&reader, &mut text).expect("what was read once is read again");
    let version = reader.header().format_version;
    // What no writer makes may be lost in writing: numbers without a meaning, another order.
    if let Some(image) = write(&loaded.tree, version) {
        let again = read(&image).unwrap_or_else(|error| panic!("what was written is refused: {error}"));
        assert!(write(&again.tree, version) == Some(image), "an image of our own changes when it is read");
    }
}

/// Asks for everything that can be asked of single inodes, whether they are inodes or not.
fn look_at_inodes(reader: &ImageReader<'_>) {
    let slots = reader.bytes().len() as u64 / 32;
    let numbers = [u64::from(reader.superblock().root_nid), 36, slots - 1, u64::MAX];
    for inode in numbers.into_iter().chain((0..slots).step_by(61)).filter_map(|nid| reader.inode(nid).ok()) {
        if let Ok(entries) = reader.entries(&inode) {
            entries.flatten().take(100).for_each(|entry| drop(reader.lookup(&inode, entry.name)));
        }
        let _ = reader.lookup(&inode, b"x");
        if let Ok(xattrs) = reader.xattrs(&inode) {
            xattrs.flatten().take(100).for_each(|xattr| drop(reader.xattr(&inode, &xattr.name())));
        }
        let _ = reader.backing(&inode);
        if let Ok(RawContent::Flat(flat)) = reader.content(&inode) {
            assert_eq!((flat.blocks.len() + flat.tail.len()) as u64, inode.record().size);
        }
    }
}
