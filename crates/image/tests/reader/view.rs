//! The lazy view of an image, beside the tree that `load` makes of all of it; and paths through symlinks.

use libcomposefs_image::Algorithm;
use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::read::{ImageReader, LastLink, LoadedImage, ResolveError, View, ViewNode, load};
use libcomposefs_image::tree::{Data, InodeId, Kind};
use libcomposefs_testkit::{cfsctl, golden, random};

use crate::forge::{parse, write};

/// Compares everything that the view says with the tree.
fn compare(view: &View<'_, '_>, loaded: &LoadedImage, name: &str) {
    compare_inode(view, loaded, &view.root().unwrap(), InodeId::ROOT, name);
    let mut entries = loaded.tree.depth_first();
    while let Some((path, entry)) = entries.step() {
        // Components of a path may be symlinks for the view, too.
        let found = view.resolve(path, LastLink::Keep).unwrap();
        assert_eq!(found.path, path, "{name}");
        let is_whiteout = [found.node.kind(), loaded.tree.inode(entry.inode).kind()].contains(&Kind::CharDevice);
        if entry.is_link && is_whiteout && found.node.raw().kind() == Kind::Regular {
            // Whether it is a whiteout is a matter of its place, which the view does not know.
            continue;
        }
        compare_inode(view, loaded, &found.node, entry.inode, name);
    }
}

fn compare_inode(view: &View<'_, '_>, loaded: &LoadedImage, node: &ViewNode, id: InodeId, name: &str) {
    let inode = loaded.tree.inode(id);
    assert_eq!(node.raw().nid(), loaded.nid(id), "{name}");
    assert_eq!((node.kind(), u32::from(node.mode())), (inode.kind(), inode.mode()), "{name}");
    let names: Vec<_> = view.children(node).unwrap().map(|child| child.unwrap()).collect();
    let expected: Vec<_> = loaded.tree.children(id).collect();
    assert_eq!(names.len(), expected.len(), "{name}");
    for (child, entry) in names.iter().zip(expected) {
        assert_eq!((child.name, child.node.raw().nid()), (entry.name, loaded.nid(entry.inode)), "{name}");
    }
    let xattrs: Vec<_> = view.xattrs(node).unwrap().into_iter().map(|xattr| (xattr.name, xattr.value)).collect();
    let expected: Vec<_> = inode.xattrs().map(|xattr| (xattr.name.to_vec(), xattr.value)).collect();
    assert_eq!(xattrs, expected, "{name}");
    let target = view.target(node).unwrap();
    assert!(matches!(inode.data(), Data::Symlink(expected) if expected == target) || target.is_empty(), "{name}");
    assert_eq!(target.is_empty(), inode.kind() != Kind::Symlink, "{name}");
}

fn compare_image(image: &[u8], name: &str) {
    let reader = ImageReader::new(image).unwrap();
    compare(&View::new(&reader), &load(&reader, &[]).unwrap(), name);
}

#[test]
fn view_and_tree_agree() {
    for case in golden::good() {
        let mut parser = Parser::new(dump::Options::default());
        let text = case.dump.strip_suffix(b"\n").unwrap_or(&case.dump);
        text.split(|byte| *byte == b'\n').for_each(|line| parser.push_line(line).unwrap());
        let tree = parser.finish().unwrap().tree;
        for version in [0, 1] {
            compare_image(&write(&tree, version), &format!("{} version {version}", case.name));
        }
    }
    for model in random::series(Algorithm::Sha512, 80, 60) {
        compare_image(&write(&model.build(), 0), "random");
    }
    for recorded in cfsctl::images() {
        compare_image(&recorded.image, &format!("cfsctl's version {}", recorded.version));
    }
}

#[test]
fn what_only_looks_like_a_whiteout_is_what_it_is() {
    let text =
        "/ 0 40755 2 0 0 0 1.0 - - -\n/f 0 100644 1 0 0 0 1.0 - - - trusted.overlay.whiteout= user.overlay.whiteout=\n";
    for version in [0, 1] {
        let image = write(&parse(text), version);
        compare_image(&image, text);
        let reader = ImageReader::new(&image).unwrap();
        let found = View::new(&reader).resolve(b"f", LastLink::Keep).unwrap();
        assert_eq!((found.node.kind(), found.node.is_restored_whiteout()), (Kind::Regular, false));
    }
}

const LINKS: &str = "\
/ 0 40755 2 0 0 0 1.0 - - -
/a 0 40755 2 0 0 0 1.0 - - -
/a/b 0 40755 2 0 0 0 1.0 - - -
/a/b/file 1 100644 1 0 0 0 1.0 - x -
/a/b/root 1 120777 1 0 0 0 1.0 /a/c - -
/a/b/up 1 120777 1 0 0 0 1.0 ../c - -
/a/c 0 40755 2 0 0 0 1.0 - - -
/a/c/file 1 100644 1 0 0 0 1.0 - y -
/abs 1 120777 1 0 0 0 1.0 /a/b/up - -
/above 1 120777 1 0 0 0 1.0 ../../../a/./b/ - -
/dangling 1 120777 1 0 0 0 1.0 a/none - -
/loop 1 120777 1 0 0 0 1.0 loop - -
/slash 1 120777 1 0 0 0 1.0 a/b/file/ - -
";

#[test]
fn paths_go_by_symlinks_within_the_image() {
    let image = write(&parse(LINKS), 1);
    let reader = ImageReader::new(&image).unwrap();
    let view = View::new(&reader);
    let resolve =
        |path: &str, last| view.resolve(path.as_bytes(), last).map(|found| String::from_utf8(found.path).unwrap());
    for (path, kept, followed) in [
        ("", "/", "/"),
        ("/", "/", "/"),
        ("../..", "/", "/"),
        ("a//b/./file", "/a/b/file", "/a/b/file"),
        ("/abs", "/abs", "/a/c"),
        ("/abs/", "/a/c", "/a/c"),
        ("abs/.", "/a/c", "/a/c"),
        ("abs/file", "/a/c/file", "/a/c/file"),
        // In the path itself `..` goes by the text, in a target by where it stands.
        ("/abs/../above/file", "/a/b/file", "/a/b/file"),
        ("/above/up/file", "/a/c/file", "/a/c/file"),
        ("a/b/root/file", "/a/c/file", "/a/c/file"),
        ("none/../a", "/a", "/a"),
        ("a/b/..", "/a", "/a"),
    ] {
        assert_eq!(resolve(path, LastLink::Keep).as_deref(), Ok(kept), "{path}");
        assert_eq!(resolve(path, LastLink::Follow).as_deref(), Ok(followed), "{path}");
    }
    let missing = |path: &str| Err(ResolveError::Missing { path: path.into() });
    let not_directory = |path: &str| Err(ResolveError::NotDirectory { path: path.into() });
    for (path, last, error) in [
        ("/a/none", LastLink::Keep, missing("/a/none")),
        ("/none/file", LastLink::Keep, missing("/none")),
        ("/00", LastLink::Keep, missing("/00")),
        ("/dangling", LastLink::Follow, missing("/a/none")),
        ("a/b/file/", LastLink::Keep, not_directory("/a/b/file")),
        ("a/b/file/x", LastLink::Keep, not_directory("/a/b/file")),
        ("slash", LastLink::Follow, not_directory("/a/b/file")),
        ("loop/x", LastLink::Keep, Err(ResolveError::TooManyLinks { path: b"/loop".to_vec() })),
    ] {
        assert_eq!(resolve(path, last), error, "{path}");
    }
    assert_eq!(resolve("dangling", LastLink::Keep).unwrap(), "/dangling");
}

#[test]
fn forty_links_are_followed_and_no_more() {
    let mut text = "/ 0 40755 2 0 0 0 1.0 - - -\n/0 0 40755 2 0 0 0 1.0 - - -\n".to_owned();
    (1..=41).for_each(|n| text.push_str(&format!("/{n} 1 120777 1 0 0 0 1.0 {} - -\n", n - 1)));
    let image = write(&parse(&text), 0);
    let reader = ImageReader::new(&image).unwrap();
    let view = View::new(&reader);
    assert_eq!(view.resolve(b"40", LastLink::Follow).unwrap().path, b"/0");
    let error = view.resolve(b"41", LastLink::Follow).unwrap_err();
    assert_eq!(error, ResolveError::TooManyLinks { path: b"/1".to_vec() });
}

/// Looks at everything that can be reached by a few names, whatever is wrong with the rest.
fn look_around(image: &[u8]) -> u32 {
    let Ok(reader) = ImageReader::new(image) else { return 0 };
    let view = View::new(&reader);
    let mut seen = 0;
    let mut look = |node: &ViewNode| {
        seen += u32::from(view.xattrs(node).is_ok() && view.target(node).is_ok() && reader.content(node.raw()).is_ok());
        let _ = reader.backing(node.raw());
        let children = view.children(node).into_iter().flatten();
        seen += children.map_while(Result::ok).count() as u32;
    };
    if let Ok(root) = view.root() {
        look(&root);
    }
    for path in ["/d/e/f", "/sym/x", "/d/link", "/ext", "/wh/gone", "/wh", "/loop", "/null"] {
        if let Ok(found) = view.resolve(path.as_bytes(), LastLink::Follow) {
            look(&found.node);
        }
    }
    seen
}

#[test]
fn whatever_byte_is_wrong_the_view_ends() {
    let image = crate::forge::Forge::new().bytes;
    let whole = look_around(&image);
    assert!(whole > 15, "{whole}");
    let mut differing = 0;
    for offset in 0..image.len() {
        let mut damaged = image.clone();
        damaged[offset] ^= if offset % 2 == 0 { 0x01 } else { 0xff };
        differing += u32::from(look_around(&damaged) != whole);
    }
    assert!(differing > 100, "{differing}");
    for len in (0..image.len()).step_by(61) {
        look_around(&image[..len]);
    }
}
