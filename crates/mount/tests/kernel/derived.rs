//! Derived trees of random layers are what overlayfs shows of the mounts of their images.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use libcomposefs_image::Algorithm;
use libcomposefs_image::derive::{Recipe, RecipeBase};
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::tree::{Data, InodeId, NewInode, Timestamp, Tree, TreeBuilder, Xattr};
use libcomposefs_image::verity;
use libcomposefs_mount::{KernelFeatures, release};
use libcomposefs_testkit::numbers::Numbers;
use rustix::fs::{lgetxattr, llistxattr};

use crate::Case;
use crate::layered::mount;
use crate::scratch::{Facts, Scratch};

pub(crate) const CASES: &[Case] = &[Case {
    name: "derived_trees_are_what_overlayfs_shows",
    needs: marked_whiteouts,
    run: derived_trees_are_what_overlayfs_shows,
}];

/// Before, whiteouts that are files are not known (6.6), or are looked for in every directory (6.7).
fn marked_whiteouts(_: &Facts) -> Option<String> {
    let numbers: Vec<u32> = release().split(['.', '-']).filter_map(|number| number.parse().ok()).take(2).collect();
    (numbers[..] < [6, 8][..]).then(|| "overlayfs looks for marked whiteouts since Linux 6.8".to_owned())
}

/// Attributes of overlayfs and others; the first is for directories alone, and often chosen.
const XATTRS: [Xattr<'static>; 7] = [
    Xattr { name: b"trusted.overlay.opaque", value: b"y" },
    Xattr { name: b"trusted.overlay.opaque", value: b"n" },
    Xattr { name: b"trusted.overlay.overlay.opaque", value: b"y" },
    Xattr { name: b"trusted.overlay.other", value: b"1" },
    Xattr { name: b"trusted.overlay.overlay.overlay.deep", value: b"2" },
    Xattr { name: b"trusted.plain", value: b"3" },
    Xattr { name: b"user.plain", value: b"4" },
];

/// Returns a tree of few names in few directories, so that layers meet.
fn random_tree(numbers: &mut Numbers) -> Tree {
    let metadata = |numbers: &mut Numbers, kind: u32| NewInode {
        mode: kind | [0o755, 0o700, 0o644][numbers.below(3)],
        uid: numbers.below(3) as u32,
        mtime: Timestamp { sec: numbers.below(5) as i64, nsec: 0 },
        ..NewInode::default()
    };
    let mut builder = TreeBuilder::new(Algorithm::Sha256, &metadata(numbers, 0o40000)).unwrap();
    let (mut directories, mut files) = (vec![(InodeId::ROOT, 0)], Vec::new());
    for _ in 0..30 {
        let (parent, depth) = directories[numbers.below(directories.len())];
        let name = [&b"a"[..], b"b", b"c", b"d", b"-"][numbers.below(5)];
        let count = numbers.below(3);
        let xattrs: Vec<_> = (0..count).map(|_| XATTRS[numbers.below(12).saturating_sub(5)]).collect();
        let of_files: Vec<_> = xattrs.iter().filter(|x| x.name != XATTRS[0].name).copied().collect();
        let added = match numbers.below(12) {
            0..=4 if depth < 3 => {
                let new = builder.add(parent, name, &NewInode { xattrs: &xattrs, ..metadata(numbers, 0o40000) });
                directories.extend(new.clone().ok().map(|new| (new, depth + 1)));
                new.map(drop)
            }
            5 => builder.add(parent, name, &NewInode { mode: 0o20000, ..NewInode::default() }).map(drop),
            6 => {
                let target = Some(&b"target"[..]);
                builder.add(parent, name, &NewInode { payload: target, ..metadata(numbers, 0o120_000) }).map(drop)
            }
            7 | 8 if !files.is_empty() => builder.add_link(parent, name, files[numbers.below(files.len())]),
            _ => {
                let content = [&b"one"[..], b"two", b""][numbers.below(3)];
                let (size, content) = (content.len() as u64, Some(content).filter(|content| !content.is_empty()));
                let file = NewInode { size, content, xattrs: &of_files, ..metadata(numbers, 0o100_000) };
                let new = builder.add(parent, name, &file);
                files.extend(new.clone().ok());
                new.map(drop)
            }
        };
        // A name that is there already: the next one.
        drop(added);
    }
    builder.finish()
}

/// What can be seen of an entry: metadata, attributes, target or content, and the first path of its inode.
type Seen = BTreeMap<Vec<u8>, String>;

/// Marks of format version 1 for overlays with `userxattr`, which other overlays show.
fn is_mark(name: &[u8]) -> bool {
    name.starts_with(b"user.overlay.")
}

fn seen_in_mount(at: &Path, path: &[u8], firsts: &mut BTreeMap<(u64, u64), Vec<u8>>, seen: &mut Seen) {
    // A whiteout of a directory that one layer alone has is listed, and is not there.
    let Ok(stat) = fs::symlink_metadata(at) else { return };
    let mut names = vec![0; 4096];
    let len = llistxattr(at, &mut names[..]).unwrap();
    let mut xattrs = Vec::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty() && !is_mark(name)) {
        let mut value = vec![0; 256];
        let len = lgetxattr(at, name, &mut value[..]).unwrap();
        xattrs.push((String::from_utf8_lossy(name).into_owned(), value[..len].to_vec()));
    }
    xattrs.sort();
    let kind = stat.file_type();
    let data = if kind.is_symlink() {
        fs::read_link(at).unwrap().as_os_str().as_bytes().to_vec()
    } else if kind.is_file() {
        fs::read(at).unwrap()
    } else {
        Vec::new()
    };
    assert!(!kind.is_char_device(), "a whiteout is shown: {}", at.display());
    let first = firsts.entry((stat.dev(), stat.ino())).or_insert_with(|| path.to_vec()).clone();
    let owner = (stat.mode(), stat.uid(), stat.gid(), stat.mtime());
    seen.insert(path.to_vec(), format!("{owner:?} {xattrs:?} {data:?} {first:?}"));
    if kind.is_dir() {
        let mut entries: Vec<_> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        entries.sort();
        for name in entries {
            seen_in_mount(&at.join(&name), &[path, b"/", name.as_bytes()].concat(), firsts, seen);
        }
    }
}

fn seen_in_tree(tree: &Tree, id: InodeId, path: &[u8], firsts: &mut BTreeMap<InodeId, Vec<u8>>, seen: &mut Seen) {
    let inode = tree.inode(id);
    let xattrs = inode.xattrs().filter(|xattr| !is_mark(xattr.name));
    let xattrs: Vec<_> =
        xattrs.map(|xattr| (String::from_utf8_lossy(xattr.name).into_owned(), xattr.value.to_vec())).collect();
    let data = match inode.data() {
        Data::Symlink(target) => target.to_vec(),
        Data::Regular { content, .. } => content.unwrap_or_default().to_vec(),
        Data::Directory | Data::Special => Vec::new(),
    };
    let first = firsts.entry(id).or_insert_with(|| path.to_vec()).clone();
    let owner = (inode.mode(), inode.uid(), inode.gid(), inode.mtime().sec);
    seen.insert(path.to_vec(), format!("{owner:?} {xattrs:?} {data:?} {first:?}"));
    for entry in tree.children(id) {
        seen_in_tree(tree, entry.inode, &[path, b"/", entry.name].concat(), firsts, seen);
    }
}

fn derived_trees_are_what_overlayfs_shows(scratch: &Scratch) {
    let (mut numbers, mut hidden) = (Numbers(1), 0);
    for round in 0..40 {
        let (mut images, mut trees): (Vec<PathBuf>, Vec<Tree>) = Default::default();
        let mut recipe = Recipe::new(Algorithm::Sha256, 1);
        for layer in 0..2 + round % 2 {
            let mut bytes = Vec::new();
            let tree = random_tree(&mut numbers);
            Image::plan(&tree, Versions::exactly(1)).unwrap().write(&mut bytes).unwrap();
            let path = scratch.path(&format!("layer{layer}"));
            fs::write(&path, &bytes).unwrap();
            recipe.bases.push(RecipeBase::layer(verity::digest(Algorithm::Sha256, &bytes)));
            images.push(path);
            trees.push(load(&ImageReader::new(&bytes).unwrap(), &[]).unwrap().tree);
        }
        let derived = recipe.apply(&trees.iter().collect::<Vec<_>>()).unwrap();
        mount(scratch, &images, KernelFeatures::default()).unwrap();
        let (mut shown, mut expected) = (Seen::new(), Seen::new());
        seen_in_mount(&scratch.path("mnt"), b"", &mut BTreeMap::new(), &mut shown);
        seen_in_tree(&derived, InodeId::ROOT, b"", &mut BTreeMap::new(), &mut expected);
        scratch.umount();
        for (path, found) in &shown {
            let path_text = String::from_utf8_lossy(path);
            assert_eq!(expected.get(path), Some(found), "round {round}: {path_text}");
        }
        assert_eq!(shown.len(), expected.len(), "round {round}: {:?} {:?}", shown.keys(), expected.keys());
        hidden += trees.iter().map(Tree::entry_count).sum::<usize>() - derived.entry_count();
    }
    assert!(hidden > 50, "{hidden}");
}
