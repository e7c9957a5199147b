//! Listing directories.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::mem::MaybeUninit;

use libcomposefs_fuse::Trust;
use libcomposefs_image::Algorithm;
use libcomposefs_image::tree::{InodeId, NewInode, Tree, TreeBuilder};
use rustix::fs::{RawDir, SeekFrom, seek};

use crate::fixture::{Place, directory};

fn tree(names: usize) -> Tree {
    let mut builder = TreeBuilder::new(Algorithm::Sha256, &directory()).unwrap();
    let huge = builder.add(InodeId::ROOT, b"huge", &directory()).unwrap();
    for index in 0..names {
        let file = NewInode { mode: 0o100_600, uid: index as u32, ..NewInode::default() };
        builder.add(huge, format!("name-{index}").as_bytes(), &file).unwrap();
    }
    builder.finish_with_counted_links()
}

pub(super) fn a_huge_one_is_listed() {
    use std::os::unix::fs::MetadataExt as _;
    let place = Place::new();
    let mounted = place.mount(&tree(30_000), Trust::Verify);
    for _ in 0..2 {
        let mut names: Vec<_> = fs::read_dir(mounted.path("huge")).unwrap().map(|name| name.unwrap()).collect();
        assert_eq!(names.len(), 30_000);
        names.sort_by_key(fs::DirEntry::file_name);
        names.dedup_by_key(|name| name.file_name());
        assert_eq!(names.len(), 30_000);
        for name in names.iter().step_by(97) {
            let uid = name.metadata().unwrap().uid();
            assert_eq!(name.file_name().to_str(), Some(format!("name-{uid}").as_str()));
        }
    }
    // The 256 stubs of the root are hidden.
    let root: Vec<_> = fs::read_dir(mounted.path("")).unwrap().map(|name| name.unwrap().file_name()).collect();
    assert_eq!(root, ["huge"]);
    assert!(!mounted.path("00").exists() && !mounted.path("huge/name").exists());
}

pub(super) fn positions_are_found_again() {
    let place = Place::new();
    let mounted = place.mount(&tree(3000), Trust::Verify);
    let huge = File::open(mounted.path("huge")).unwrap();
    let all = names_from(&huge, 0);
    assert_eq!(all.len(), 3002);
    let cookies: BTreeMap<u64, usize> = all.iter().enumerate().map(|(index, (_, cookie))| (*cookie, index)).collect();
    assert_eq!(cookies.len(), all.len(), "every position is different");
    for (cookie, index) in cookies.iter().step_by(137) {
        assert_eq!(names_from(&huge, *cookie), all[index + 1..], "from {cookie}");
    }
    assert_eq!(names_from(&huge, 0), all);
}

/// Returns the names from a position on, each with the position after it.
fn names_from(directory: &File, position: u64) -> Vec<(Vec<u8>, u64)> {
    seek(directory, SeekFrom::Start(position)).unwrap();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry.unwrap();
        names.push((entry.file_name().to_bytes().to_vec(), entry.next_entry_cookie()));
    }
    names
}
