//! The positions of inodes and their tails in version 2, for cases that are rare in trees. Whole images are compared
//! with those of cfsctl elsewhere (`reader/cfsctl.rs`, and beside the program in `crates/cli/tests/`).

use libcomposefs_image::dump::{Options, Parser};
use libcomposefs_image::erofs::format_version::LEGACY;
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::erofs::{Image, Versions, WriteError};
use libcomposefs_image::tree::{InodeId, Tree};

fn tree(lines: &[String]) -> Tree {
    let mut parser = Parser::new(Options::default());
    lines.iter().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
    parser.finish().unwrap().tree
}

fn line(path: &str, size: usize, kind: &str, data: &str) -> String {
    format!("{path} {size} {kind} 1 0 0 0 7.5 {data}")
}

/// A tree of `count` empty files of 64 bytes each, followed by `more`.
fn behind(count: usize, more: &[String]) -> Tree {
    let mut lines = vec!["/ 0 40755 2 0 0 0 7.5 - - -".to_owned()];
    lines.extend((0..count).map(|n| line(&format!("/{n:03}"), 0, "100644", "- - -")));
    lines.extend_from_slice(more);
    tree(&lines)
}

/// Returns the distance of an entry's inode from the inode before it, in units of 32 bytes, and the position in its
/// block at which its 64 bytes would end if it followed directly.
fn distance(tree: &Tree, before: &str, name: &str) -> (u64, u64) {
    let mut image = Vec::new();
    Image::plan_as(tree, &LEGACY).unwrap().write(&mut image).unwrap();
    let loaded = load(&ImageReader::new(&image).unwrap(), &[]).unwrap();
    let nid = |name: &str| loaded.nid(loaded.tree.child(InodeId::ROOT, name.as_bytes()).unwrap().inode);
    (nid(name) - nid(before), (nid(before) * 32 + 128) % 4096)
}

#[test]
fn a_tail_that_begins_a_block_goes_32_bytes_further() {
    let mut shifted = 0;
    // The length of the name moves everything after the root.
    for (count, len) in (60..130).flat_map(|count| [1, 33, 65].map(|len| (count, len))) {
        let name = "z".repeat(len);
        let tree = behind(count, &[line(&format!("/{name}"), 1, "100644", "- x -")]);
        let (distance, end) = distance(&tree, &format!("{:03}", count - 1), &name);
        assert_eq!(distance, if end == 0 { 3 } else { 2 }, "{count} files before");
        shifted += u32::from(end == 0);
    }
    assert!(shifted > 0);
}

#[test]
fn chunks_stay_where_they_fall() {
    // With a reference to a shared attribute the inode has 224 bytes: its chunks can begin a block.
    let object = |path: &str, byte: &str| {
        let digest = byte.repeat(32);
        line(path, 100, "100644", &format!("{byte}/{} - {digest} user.shared=1", &digest[2..]))
    };
    let mut at_an_end = 0;
    for (count, len) in (60..130).flat_map(|count| [1, 33, 65].map(|len| (count, len))) {
        let name = "z".repeat(len);
        let tree = behind(count, &[object(&format!("/{name}"), "ab"), object("/~", "cd")]);
        let (distance, end) = distance(&tree, &format!("{:03}", count - 1), &name);
        assert_eq!(distance, 2, "{count} files before");
        at_an_end += u32::from((end + 224 - 64) % 4096 == 0);
    }
    assert!(at_an_end > 0);
}

#[test]
fn a_target_that_no_block_takes_behind_its_inode_is_refused() {
    for (len, fits) in [(1024, true), (4000, true), (4095, false)] {
        let tree = behind(60, &[line("/z", len, "120777", &format!("{} - -", "t".repeat(len)))]);
        match (Image::plan_as(&tree, &LEGACY), fits) {
            (Ok(image), true) => {
                let mut bytes = Vec::new();
                image.write(&mut bytes).unwrap();
                load(&ImageReader::new(&bytes).unwrap(), &[]).unwrap();
            }
            (Err(WriteError::TargetTooLong { len: 4095, .. }), false) => {}
            (planned, _) => panic!("{len}: {planned:?}"),
        }
        assert!(Image::plan(&tree, Versions::default()).is_ok());
    }
}

#[test]
fn no_range_of_versions_leads_to_it() {
    let tree = behind(0, &[]);
    for versions in [Versions::exactly(2), Versions { min: 0, max: 2 }, Versions { min: 1, max: 2 }] {
        assert!(matches!(Image::plan(&tree, versions), Err(WriteError::Version { .. })), "{versions:?}");
    }
}
