//! Overlays of small trees, one rule of overlayfs after the other.

use super::*;
use crate::dump::{self, Parser};

fn tree(lines: &[&str]) -> Tree {
    let mut parser = Parser::new(dump::Options::default());
    let has_root = lines.first().is_some_and(|line| line.starts_with("/ "));
    if !has_root {
        parser.push_line(b"/ 0 40755 2 0 0 0 1.0 - - -").unwrap();
    }
    lines.iter().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
    parser.finish().unwrap().tree
}

fn text(tree: &Tree) -> Vec<String> {
    let mut text = Vec::new();
    dump::emit(tree, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    text.lines().skip(1).map(|line| line.trim_end().to_owned()).collect()
}

fn overlaid(layers: &[&Tree]) -> Result<Tree, OverlayError> {
    let layers: Vec<_> = layers.iter().map(|tree| OverlayLayer { tree, hierarchies: &[] }).collect();
    overlay(&layers)
}

fn paths(tree: &Tree) -> Vec<String> {
    text(tree).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

const DIRECTORY: &str = "0 40755 2 0 0 0 1.0 - - -";
const FILE: &str = "1 100644 1 0 0 0 1.0 - x -";
const WHITEOUT: &str = "0 20000 1 0 0 0 1.0 - - -";

fn lines(of: &[(&str, &str)]) -> Tree {
    let lines: Vec<String> = of.iter().map(|(path, rest)| format!("{path} {rest}")).collect();
    tree(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn directories_are_merged_and_have_the_metadata_of_the_uppermost() {
    let lower = lines(&[("/d", DIRECTORY), ("/d/low", FILE), ("/d/same", FILE)]);
    let upper = tree(&[
        "/d 0 40700 2 1 2 0 5.0 - - - user.a=b",
        "/d/same 1 100600 1 3 3 0 2.0 - y -",
        "/z 1 100644 1 0 0 0 1.0 - z -",
    ]);
    let both = overlaid(&[&lower, &upper]).unwrap();
    let expected = [
        "/d 0 40700 2 1 2 0 5.0 - - - user.a=b",
        "/d/low 1 100644 1 0 0 0 1.0 - x -",
        "/d/same 1 100600 1 3 3 0 2.0 - y -",
        "/z 1 100644 1 0 0 0 1.0 - z -",
    ];
    assert_eq!(text(&both), expected);
}

#[test]
fn a_whiteout_hides_what_is_below_and_only_that() {
    let (d, e) = ([("/d", DIRECTORY), ("/d/a", FILE), ("/d/b", FILE)], [("/e", DIRECTORY), ("/e/f", FILE)]);
    let lowest = lines(&[&d[..], &e, &[("/own", WHITEOUT)]].concat());
    let middle = lines(&[("/d", DIRECTORY), ("/d/a", WHITEOUT), ("/e", WHITEOUT), ("/never", WHITEOUT)]);
    let top = lines(&[("/e", DIRECTORY), ("/e/new", FILE)]);
    let all = overlaid(&[&lowest, &middle, &top]).unwrap();
    assert_eq!(paths(&all), ["/d", "/d/b", "/e", "/e/new"]);
    assert!(!all.has_whiteout());
}

#[test]
fn an_opaque_directory_hides_the_entries_below_and_loses_the_mark() {
    let lower = lines(&[("/d", DIRECTORY), ("/d/a", FILE), ("/d/s", DIRECTORY), ("/d/s/x", FILE)]);
    let opaque = format!("{DIRECTORY} trusted.overlay.opaque=y");
    let upper = lines(&[("/d", &opaque), ("/d/s", DIRECTORY), ("/d/s/new", FILE)]);
    let both = overlaid(&[&lower, &upper]).unwrap();
    assert_eq!(paths(&both), ["/d", "/d/s", "/d/s/new"]);
    assert!(text(&both).iter().all(|line| !line.contains("overlay")));
    // overlayfs looks for the attribute of user namespaces only with the option userxattr.
    let user = format!("{DIRECTORY} user.overlay.opaque=y");
    let both = overlaid(&[&lower, &lines(&[("/d", &user), ("/d/new", FILE)])]).unwrap();
    assert_eq!(paths(&both), ["/d", "/d/a", "/d/new", "/d/s", "/d/s/x"]);
    assert!(text(&both)[0].ends_with("user.overlay.opaque=y"));
}

#[test]
fn the_root_is_never_opaque() {
    let upper = tree(&["/ 0 40700 2 0 0 0 1.0 - - - trusted.overlay.opaque=y"]);
    let both = overlaid(&[&lines(&[("/a", FILE)]), &upper]).unwrap();
    assert_eq!((paths(&both), both.inode(InodeId::ROOT).mode()), (vec!["/a".to_owned()], 0o40700));
}

#[test]
fn other_types_replace_each_other() {
    let lower = lines(&[("/a", DIRECTORY), ("/a/x", FILE), ("/b", FILE)]);
    let upper = lines(&[("/a", FILE), ("/b", DIRECTORY), ("/b/y", FILE)]);
    assert_eq!(paths(&overlaid(&[&lower, &upper]).unwrap()), ["/a", "/b", "/b/y"]);
    // A file between two directories ends the lower one.
    let top = lines(&[("/a", DIRECTORY), ("/a/z", FILE)]);
    assert_eq!(paths(&overlaid(&[&lower, &upper, &top]).unwrap()), ["/a", "/a/z", "/b", "/b/y"]);
}

#[test]
fn whiteouts_that_are_files_count_in_marked_directories() {
    let empty = "0 100644 1 0 0 0 1.0 - - - trusted.overlay.whiteout=";
    let marked = format!("{DIRECTORY} trusted.overlay.opaque=x user.overlay.opaque=x");
    let lower = lines(&[("/d", DIRECTORY), ("/d/a", FILE)]);
    let both = overlaid(&[&lower, &lines(&[("/d", &marked), ("/d/a", empty)])]).unwrap();
    assert_eq!(text(&both), [format!("/d {DIRECTORY}")]);
    let both = overlaid(&[&lower, &lines(&[("/d", DIRECTORY), ("/d/a", empty)])]).unwrap();
    assert_eq!(text(&both), [format!("/d {DIRECTORY}"), "/d/a 0 100644 1 0 0 0 1.0 - - -".to_owned()]);
}

#[test]
fn an_escaped_attribute_is_shown_with_one_escape_less() {
    let nested = format!("{DIRECTORY} trusted.overlay.origin=q trusted.overlay.overlay.opaque=y user.a=b");
    let both = overlaid(&[&tree(&[]), &lines(&[("/d", &nested)])]).unwrap();
    assert_eq!(text(&both), [format!("/d {DIRECTORY} trusted.overlay.opaque=y user.a=b")]);
}

#[test]
fn names_of_one_inode_stay_together_within_a_layer() {
    let link = |path: &str, to: &str| format!("{path} 1 @100644 3 0 0 0 1.0 {to} x -");
    let lower = tree(&["/a 1 100644 3 0 0 0 1.0 - x -", &link("/b", "/a"), &link("/c", "/a")]);
    let both = overlaid(&[&lower, &lines(&[("/a", FILE)])]).unwrap();
    let expected =
        ["/a 1 100644 1 0 0 0 1.0 - x -", "/b 1 100644 2 0 0 0 1.0 - x -", "/c 1 @100644 2 0 0 0 1.0 /b x -"];
    assert_eq!(text(&both)[..2], expected[..2]);
    assert!(text(&both)[2].starts_with("/c 1 @100644 2 0 0 0 1.0 /b"), "{:?}", text(&both));
}

#[test]
fn redirects_are_refused() {
    let renamed = format!("{DIRECTORY} trusted.overlay.redirect=/old");
    let error = overlaid(&[&tree(&[]), &lines(&[("/new", &renamed)])]).unwrap_err();
    assert_eq!(
        error,
        OverlayError::Redirected { layer: 1, path: b"/new".to_vec(), attribute: "trusted.overlay.redirect" }
    );
    let escaped = format!("{DIRECTORY} trusted.overlay.overlay.redirect=/old");
    overlaid(&[&tree(&[]), &lines(&[("/new", &escaped)])]).unwrap();
}

#[test]
fn an_extension_is_merged_in_its_hierarchies_only() {
    let base = tree(&["/usr 0 40755 2 0 0 0 1.0 - - -", "/usr/a 1 100644 1 0 0 0 1.0 - x -"]);
    let lines = [
        "/etc 0 40755 2 0 0 0 1.0 - - -",
        "/etc/no 1 100644 1 0 0 0 1.0 - x -",
        "/opt 0 40711 2 0 0 0 1.0 - - -",
        "/usr 0 40700 2 5 5 0 9.0 - - - trusted.overlay.opaque=y",
        "/usr/b 1 100644 1 0 0 0 1.0 - x -",
    ];
    let extension = tree(&lines);
    let part = OverlayLayer { tree: &extension, hierarchies: &["usr", "opt"] };
    let both = overlay(&[OverlayLayer { tree: &base, hierarchies: &[] }, part]).unwrap();
    assert_eq!(paths(&both), ["/opt", "/usr", "/usr/a", "/usr/b"]);
    assert_eq!(text(&both)[1], "/usr 0 40755 2 0 0 0 1.0 - - -");
    assert_eq!(overlay(&[part]).unwrap_err(), OverlayError::NoBase);
    let file = tree(&["/usr 1 100644 1 0 0 0 1.0 - x -"]);
    let error = overlay(&[OverlayLayer { tree: &file, hierarchies: &[] }, part]).unwrap_err();
    assert_eq!(error, OverlayError::NotAHierarchy { layer: 0, name: "usr".into() });
}
