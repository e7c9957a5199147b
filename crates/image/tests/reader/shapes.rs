//! Trees of unusual shape, read back.

use libcomposefs_image::Algorithm;
use libcomposefs_image::erofs::read::{ImageReader, Order, load};
use libcomposefs_image::tree::{InodeId, NewInode, TreeBuilder};

use crate::forge::{parse, write};

const DIRECTORY: NewInode<'static> = NewInode {
    mode: 0o040755,
    size: 0,
    nlink: 2,
    uid: 0,
    gid: 0,
    rdev: 0,
    mtime: libcomposefs_image::tree::Timestamp { sec: 0, nsec: 0 },
    payload: None,
    is_object: false,
    content: None,
    digest: None,
    xattrs: &[],
};
const FILE: NewInode<'static> = NewInode { mode: 0o100644, nlink: 1, ..DIRECTORY };

/// Writes, reads, writes again: the same bytes.
fn goes_round(builder: TreeBuilder) -> Order {
    let bytes = write(&builder.finish(), 0);
    let loaded = load(&ImageReader::new(&bytes).unwrap(), &[]).unwrap();
    assert!(bytes == write(&loaded.tree, 0));
    loaded.order
}

#[test]
fn a_hundred_thousand_levels() {
    let mut builder = TreeBuilder::new(Algorithm::Sha256, &DIRECTORY).unwrap();
    let mut parent = InodeId::ROOT;
    for _ in 0..100_000 {
        parent = builder.add(parent, b"d", &DIRECTORY).unwrap();
    }
    let file = builder.add(parent, b"f", &FILE).unwrap();
    builder.add_link(InodeId::ROOT, b"link", file).unwrap();
    let bytes = write(&builder.finish(), 0);
    let reader = ImageReader::new(&bytes).unwrap();
    let loaded = load(&reader, &[]).unwrap();
    assert!(bytes == write(&loaded.tree, 0));
    assert_eq!(loaded.order, Order::BreadthFirst);
    // An error at the very bottom has its path, as much of it as is good to read.
    let mut forged = bytes.clone();
    let bottom = loaded.raw(&reader, loaded.tree.child(InodeId::ROOT, b"link").unwrap().inode).unwrap();
    forged[bottom.offset() as usize + 4..][..2].copy_from_slice(&[0, 0]);
    let error = load(&ImageReader::new(&forged).unwrap(), &[]).unwrap_err();
    assert!(error.to_string().len() < 10_000);
    assert!(error.path.is_some());
}

#[test]
fn a_hundred_thousand_names_in_one_directory() {
    let mut builder = TreeBuilder::new(Algorithm::Sha256, &DIRECTORY).unwrap();
    for n in 0..100_000 {
        builder.add(InodeId::ROOT, format!("{n:x}").as_bytes(), &FILE).unwrap();
    }
    let bytes = write(&builder.finish(), 0);
    let reader = ImageReader::new(&bytes).unwrap();
    let loaded = load(&reader, &[]).unwrap();
    assert!(bytes == write(&loaded.tree, 0));
    assert_eq!(loaded.order, Order::NoLinks);
    // Each is found by halves, and what is not there is not.
    let root = reader.root().unwrap();
    for n in (0..100_000).step_by(97) {
        let entry = reader.lookup(&root, format!("{n:x}").as_bytes()).unwrap().unwrap();
        let id = loaded.tree.child(InodeId::ROOT, entry.name).unwrap().inode;
        assert_eq!(loaded.nid(id), entry.nid);
        assert!(reader.lookup(&root, format!("{n:x}-").as_bytes()).unwrap().is_none());
    }
    for name in [&b""[..], b"\x01", b"\xff", b"0/", b"zz"] {
        assert!(reader.lookup(&root, name).unwrap().is_none());
    }
    assert!(reader.lookup(&root, b"..").unwrap().is_some());
}

#[test]
fn one_inode_with_many_names() {
    let mut builder = TreeBuilder::new(Algorithm::Sha256, &DIRECTORY).unwrap();
    let directory = builder.add(InodeId::ROOT, b"links", &DIRECTORY).unwrap();
    let file = builder.add(directory, b"m", &FILE).unwrap();
    for n in 0..50_000 {
        builder.add_link(directory, format!("{n:x}").as_bytes(), file).unwrap();
    }
    assert_eq!(goes_round(builder), Order::BreadthFirst);
}

#[test]
fn many_inodes_each_with_names_everywhere() {
    // Every directory has a name for every file, whose place is in one of them.
    let (directories, files) = (40, 200);
    let mut builder = TreeBuilder::new(Algorithm::Sha256, &DIRECTORY).unwrap();
    let parents: Vec<_> = (0..directories)
        .map(|n| builder.add(InodeId::ROOT, format!("d{n:02}").as_bytes(), &DIRECTORY).unwrap())
        .collect();
    let name = |n: usize| format!("{:04}", (n * 7919) % 10_000).into_bytes();
    let inodes: Vec<_> =
        (0..files).map(|n| builder.add(parents[n * n % directories], &name(n), &FILE).unwrap()).collect();
    for (d, &parent) in parents.iter().enumerate() {
        for (n, &inode) in inodes.iter().enumerate().filter(|(n, _)| n * n % directories != d) {
            builder.add_link(parent, &name(n), inode).unwrap();
        }
    }
    assert_eq!(goes_round(builder), Order::BreadthFirst);
}

#[test]
fn where_the_place_may_be_chosen_the_first_name_is_taken() {
    let root = "/ 0 40755 2 0 0 0 0.0 - - -\n/d 0 40755 2 0 0 0 0.0 - - -\n";
    let link_target = |text: &str| {
        let bytes = write(&parse(&format!("{root}{text}")), 0);
        let loaded = load(&ImageReader::new(&bytes).unwrap(), &[]).unwrap();
        let mut text = Vec::new();
        loaded.emit_dump(&ImageReader::new(&bytes).unwrap(), &mut text).unwrap();
        assert!(bytes == write(&parse(std::str::from_utf8(&text).unwrap()), 0));
        let text = String::from_utf8(text).unwrap();
        let link = text.lines().find(|line| line.contains(" @")).unwrap().to_owned();
        link.split(' ').nth(8).unwrap().to_owned()
    };
    // Nothing is between the two names.
    assert_eq!(link_target("/z 0 100644 2 0 0 0 0.0 - - -\n/d/a 0 @100644 1 0 0 0 0.0 /z - -\n"), "/d/a");
    // Another inode is the place, so the order is conclusive.
    assert_eq!(
        link_target(
            "/x 0 100644 2 0 0 0 0.0 - - -\n/y 0 100644 2 0 0 0 0.0 - - -\n/d/a 0 @100644 1 0 0 0 0.0 /x - -\n"
        ),
        "/x"
    );
    // A stub is.
    assert_eq!(link_target("/0 0 100644 2 0 0 0 0.0 - - -\n/d/a 0 @100644 1 0 0 0 0.0 /0 - -\n"), "/0");
    assert_eq!(link_target("/d/a 0 100644 2 0 0 0 0.0 - - -\n/0 0 @100644 1 0 0 0 0.0 /d/a - -\n"), "/d/a");
}

#[test]
fn whiteouts_come_back_where_they_were() {
    let root = "/ 0 40755 2 0 0 0 0.0 - - -\n/d 0 40755 2 0 0 0 0.0 - - -\n/e 0 40755 2 0 0 0 0.0 - - -\n";
    let marks = "trusted.overlay.whiteout= user.overlay.whiteout=";
    let parent_marks = "trusted.overlay.whiteouts= user.overlay.whiteouts=";
    for text in [
        // A whiteout with a link, on either side of it.
        "/e/w 0 20644 2 0 0 0 0.0 - - -\n/d/l 0 @20644 1 0 0 0 0.0 /e/w - -\n".to_owned(),
        "/d/w 0 20644 2 0 0 0 0.0 - - -\n/e/l 0 @20644 1 0 0 0 0.0 /d/w - -\n".to_owned(),
        // The same, where both directories have whiteouts.
        "/e/w 0 20644 2 0 0 0 0.0 - - -\n/d/l 0 @20644 1 0 0 0 0.0 /e/w - -\n/d/x 0 20644 1 0 0 0 0.0 - - -\n"
            .to_owned(),
        // What only looks like one: no directory is marked, or not all of it.
        format!("/d/w 0 100644 1 0 0 0 0.0 - - - {marks}\n"),
        format!("/d/w 0 100644 2 0 0 0 0.0 - - - {marks}\n/e/l 0 @100644 1 0 0 0 0.0 /d/w - -\n"),
        format!("/d/x 0 20644 1 0 0 0 0.0 - - -\n/d/w 1 100644 1 0 0 0 0.0 - x - {marks}\n"),
        "/d/x 0 20644 1 0 0 0 0.0 - - -\n/d/w 0 100644 1 0 0 0 0.0 - - - trusted.overlay.whiteout=\n".to_owned(),
        format!("/d/x 0 40755 2 0 0 0 0.0 - - - {parent_marks} trusted.overlay.opaque=x\n"),
        format!("/f 0 100644 1 0 0 0 0.0 - - - {parent_marks}\n"),
        // What looks like one in all respects, and so becomes one: the bytes are the same.
        format!("/d/x 0 20644 1 0 0 0 0.0 - - -\n/d/w 0 100644 1 0 0 0 0.0 - - - {marks}\n"),
        // One that has its own, which the writer replaces.
        "/d/w 0 20644 1 0 0 0 0.0 - - - trusted.overlay.whiteout= user.overlay.whiteout=\n".to_owned(),
        "/w 0 20644 1 0 0 0 0.0 - - -\n/ab 0 20644 1 0 0 0 0.0 - - -\n".to_owned(),
    ] {
        for version in [0, 1] {
            let bytes = write(&parse(&format!("{root}{text}")), version);
            let reader = ImageReader::new(&bytes).unwrap();
            let loaded = load(&reader, &[]).unwrap();
            assert!(bytes == write(&loaded.tree, version), "version {version}: {text}");
            let whiteouts =
                |tree: &libcomposefs_image::tree::Tree| tree.inodes().filter(|i| i.mode() == 0o20644).count();
            assert!(whiteouts(&loaded.tree) >= whiteouts(&parse(&format!("{root}{text}"))), "{text}");
            let mut dump = Vec::new();
            loaded.emit_dump(&reader, &mut dump).unwrap();
            assert!(bytes == write(&parse(std::str::from_utf8(&dump).unwrap()), version), "version {version}: {text}");
        }
    }
}

#[test]
fn some_names_of_the_root_only() {
    let text = "/ 0 40755 2 0 0 0 0.0 - - -\n/a 0 40755 2 0 0 0 0.0 - - -\n/a/x 0 100644 2 0 0 0 0.0 - - -\n\
                /b 0 40755 2 0 0 0 0.0 - - -\n/b/l 0 @100644 1 0 0 0 0.0 /a/x - -\n";
    let bytes = write(&parse(text), 0);
    let reader = ImageReader::new(&bytes).unwrap();
    let names = |only: &[&[u8]]| {
        let tree = load(&reader, only).unwrap().tree;
        let mut names = Vec::new();
        let mut entries = tree.depth_first();
        while let Some((path, _)) = entries.step() {
            names.push(String::from_utf8(path.to_vec()).unwrap());
        }
        (names.join(" "), tree.has_links())
    };
    assert_eq!(names(&[]), ("/a /a/x /b /b/l".to_owned(), true));
    assert_eq!(names(&[b"b"]), ("/b /b/l".to_owned(), false));
    assert_eq!(names(&[b"b", b"a", b"c"]), ("/a /a/x /b /b/l".to_owned(), true));
    assert_eq!(names(&[b"c"]), (String::new(), false));
}
