//! One random change of a random tree is what `diff` finds, and nothing else.

mod mutation;

use std::collections::BTreeMap;

use libcomposefs_image::diff::{Change, Diff, Field, FieldSet, Options, Side, diff};
use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::tree::Tree;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_testkit::random::series;
use libcomposefs_testkit::stats;

use mutation::{Expected, MUTATIONS, Mutation, mutate};

/// The number of changes of each kind: more than a thousand trees in all.
const TIMES: usize = 48;

fn image(tree: &Tree, version: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    Image::plan(tree, Versions::exactly(version)).unwrap().write(&mut bytes).unwrap();
    bytes
}

fn parse(algorithm: Algorithm, text: &[u8]) -> Tree {
    let mut parser = Parser::new(dump::Options { algorithm, strict: false });
    for line in text.strip_suffix(b"\n").unwrap().split(|&b| b == b'\n') {
        parser.push_line(line).unwrap();
    }
    parser.finish().unwrap().tree
}

/// Describes a change in the words of [`mutation`], the second tree first if `mirrored`.
fn describe(diff: &Diff<'_>, change: &Change, mirrored: bool) -> Vec<String> {
    let sides = if mirrored { [Side::B, Side::A] } else { [Side::A, Side::B] };
    if let Some(only) = change.only() {
        return vec![format!("only {:?}", if mirrored { only.other() } else { only })];
    }
    let mut words = Vec::new();
    for field in change.fields().iter().filter(|field| *field != Field::Xattrs) {
        let [old, new] = sides.map(|side| diff.value(side, change, field));
        words.push(format!("{field}: {old:?} -> {new:?}"));
    }
    if change.fields().contains(Field::Xattrs) {
        for xattr in diff.xattrs(change) {
            let (old, new) = if mirrored { (xattr.new, xattr.old) } else { (xattr.old, xattr.new) };
            words.push(format!("xattr {:?}: {old:?} -> {new:?}", xattr.name));
        }
    }
    words
}

fn found(a: &Tree, b: &Tree, mirrored: bool) -> Expected {
    let found = diff(a, b, &Options::default());
    let paths: Vec<_> = found.changes().iter().map(|change| found.path(change)).collect();
    let components = |path: &[u8]| path.split(|byte| *byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
    assert!(paths.is_sorted_by_key(|path| components(path)), "{paths:?}");
    let described = found.changes().iter().map(|change| describe(&found, change, mirrored));
    paths.into_iter().zip(described).collect()
}

#[test]
fn one_change_is_found_and_nothing_else() {
    let mut done: BTreeMap<Mutation, usize> = BTreeMap::new();
    let mut moved_without_effect = 0;
    let models = series(Algorithm::Sha256, 45, 1200).chain(series(Algorithm::Sha512, 30, 600));
    for (round, model) in models.enumerate() {
        // Whatever was done least so far, where this tree has a node for it.
        let mut wanted = MUTATIONS.to_vec();
        wanted.sort_by_key(|mutation| done.get(mutation));
        let nodes = (0..model.nodes.len()).map(|node| (node + 7 * round) % model.nodes.len());
        let possible =
            |mutation: &Mutation| nodes.clone().find_map(|node| Some((*mutation, mutate(*mutation, &model, node)?)));
        let Some((mutation, (changed, mut expected))) = wanted.iter().find_map(possible) else { continue };
        let (a, b) = (model.build(), changed.build());
        let is_same_image = image(&a, 1) == image(&b, 1);
        if mutation == Mutation::Place && is_same_image {
            moved_without_effect += 1;
            expected.clear();
        } else {
            // What an image marks whiteouts with replaces attributes of the tree.
            assert!(!is_same_image || a.has_whiteout(), "{mutation:?}");
            *done.entry(mutation).or_default() += 1;
        }
        assert_eq!(found(&a, &b, false), expected, "{mutation:?}");
        assert_eq!(found(&b, &a, true), expected, "{mutation:?}, sides swapped");
        assert_eq!(found(&a, &a, false), Expected::new());
    }
    let trees: usize = done.values().sum();
    stats::show(&format!("diff: {trees} changes found, {moved_without_effect} without effect not: {done:?}"));
    assert!(trees >= 1000 && moved_without_effect > 0);
    for mutation in MUTATIONS {
        assert!(done.get(&mutation).is_some_and(|times| *times >= TIMES), "{mutation:?}: {done:?}");
    }
}

#[test]
fn trees_are_equal_through_text_and_image() {
    // The markers of whiteouts and their directories replace the tree's attributes of these names; a reader cannot
    // distinguish what version 1 adds from the tree's own.
    let marks = ["whiteout", "whiteouts", "opaque"];
    let names = marks.iter().flat_map(|mark| ["trusted", "user"].map(|space| format!("{space}.overlay.{mark}").into()));
    let but_marks = Options { ignore_xattrs: names.collect(), ..Options::default() };
    let models = series(Algorithm::Sha256, 45, 300).chain(series(Algorithm::Sha512, 30, 100));
    for model in models {
        let tree = model.build();
        assert_eq!(found(&tree, &parse(model.algorithm, &model.dump()), false), Expected::new());
        let options = if tree.has_whiteout() { but_marks.clone() } else { Options::default() };
        for version in [0, 1] {
            let bytes = image(&tree, version);
            let loaded = load(&ImageReader::new(&bytes).unwrap(), &[]).unwrap().tree;
            let differ = |a, b| diff(a, b, &options).counts().differing();
            assert_eq!((differ(&tree, &loaded), differ(&loaded, &tree)), (0, 0));
        }
    }
}

#[test]
fn what_is_to_be_ignored_is() {
    let model = series(Algorithm::Sha256, 45, 20).max_by_key(|model| model.nodes.len()).unwrap();
    let mut changed = model.clone();
    for node in &mut changed.nodes {
        (node.uid, node.mtime.sec) = (node.uid ^ 1, node.mtime.sec ^ 1);
        node.xattrs.insert(b"user.new".to_vec(), b"1".to_vec());
    }
    let (a, b) = (model.build(), changed.build());
    let mut options = Options::default();
    let counts = |options: &Options| diff(&a, &b, options).counts().clone();
    let all = model.nodes.len();
    let found = counts(&options);
    assert_eq!((found.common, found.changed, found.differing()), (all, all, all));
    assert_eq!(
        [Field::Uid, Field::Mtime, Field::Xattrs, Field::Gid].map(|field| found.field(field)),
        [all, all, all, 0]
    );
    options.ignore = FieldSet::from_iter([Field::Uid, Field::Mtime]);
    assert_eq!(counts(&options).field(Field::Uid), 0);
    assert_eq!(counts(&options).changed, all);
    options.ignore_xattrs = vec![b"user.new".to_vec()];
    assert_eq!(counts(&options).changed, 0);
    let name = [b"/", &model.nodes[1].name[..]].concat();
    options = Options { below: name, ..Options::default() };
    assert!((1..all).contains(&counts(&options).changed));
    options.below = b"/no/such/path".to_vec();
    assert_eq!(counts(&options), libcomposefs_image::diff::Counts::default());
}

#[test]
fn digests_of_two_algorithms_are_not_compared_but_contents_in_the_image_are() {
    let text = |digest: Digest, content: &str| {
        let path = digest.object_path();
        format!(
            "/ 0 40755 2 0 0 0 0.0 - - -\n/big 99 100644 1 0 0 0 0.0 {path} - {digest}\n\
             /in 3 100644 1 0 0 0 0.0 - {content} -\n"
        )
    };
    let tree = |algorithm, content| {
        let digest = libcomposefs_image::verity::digest(algorithm, b"big");
        parse(algorithm, text(digest, content).as_bytes())
    };
    let (a, b, c) = (tree(Algorithm::Sha256, "abc"), tree(Algorithm::Sha512, "abc"), tree(Algorithm::Sha512, "abd"));
    let same = diff(&a, &b, &Options::default());
    assert_eq!((same.counts().incomparable, same.counts().changed), (1, 0));
    let other = diff(&a, &c, &Options::default());
    assert_eq!((other.counts().incomparable, other.counts().field(Field::Content)), (1, 1));
}

/// Several changes at once, in the order of their paths, also where only the grouping of names differs.
#[test]
fn changes_are_in_the_order_of_paths() {
    let tree = |uid: u32, link: &str| {
        let lines = [
            "/ 0 40755 2 0 0 0 0.0 - - -".to_owned(),
            format!("/a 1 100644 1 {uid} 0 0 0.0 - x -"),
            "/b 1 100644 1 7 0 0 0.0 - x -".to_owned(),
            format!("/c 1 {link} -"),
            format!("/d 1 100644 1 {uid} 0 0 0.0 - x -"),
        ];
        parse(Algorithm::Sha256, (lines.join("\n") + "\n").as_bytes())
    };
    let (a, b) = (tree(0, "100644 1 7 0 0 0.0 - x"), tree(1, "@100644 1 7 0 0 0.0 /b -"));
    let differences = found(&a, &b, false);
    let paths: Vec<_> = differences.keys().map(|path| String::from_utf8_lossy(path)).collect();
    assert_eq!(paths, ["/a", "/b", "/c", "/d"]);
    assert_eq!(differences[&b"/c"[..]], ["hardlinks: Names(1) -> Names(2)"]);
}

#[test]
fn another_content_is_seen_where_the_storage_differs_too() {
    let root = "/ 0 40755 2 0 0 0 0.0 - - -\n";
    let inline = parse(Algorithm::Sha256, format!("{root}/f 3 100644 1 0 0 0 0.0 - abc -\n").as_bytes());
    for (content, differs) in [(b"abc", false), (b"abd", true)] {
        let digest = libcomposefs_image::verity::digest(Algorithm::Sha256, content);
        let path = digest.object_path();
        let external = format!("{root}/f 3 100644 1 0 0 0 0.0 {path} - {digest}\n");
        let external = parse(Algorithm::Sha256, external.as_bytes());
        for (a, b) in [(&inline, &external), (&external, &inline)] {
            let counts = diff(a, b, &Options::default()).counts().clone();
            assert_eq!((counts.field(Field::Storage), counts.field(Field::Content)), (1, usize::from(differs)));
            assert_eq!(counts.field(Field::Payload), 0);
        }
    }
}
