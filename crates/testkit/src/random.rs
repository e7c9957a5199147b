//! Random models: small, but with everything that makes images differ.

use std::collections::{BTreeMap, BTreeSet};

use libcomposefs_image::tree::Timestamp;
use libcomposefs_image::{Algorithm, Digest, verity};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::model::{Model, ModelNode, NodeKind};

/// A node to be, as long as it is not known where.
#[derive(Clone, Debug)]
struct NodeDraft {
    parent: prop::sample::Index,
    target: prop::sample::Index,
    node: ModelNode,
}

/// Names: mostly short, some with every byte that may stand in one, some as long as can be.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let any_byte = (1u8..=255).prop_filter("no slash", |b| *b != b'/');
    prop_oneof![
        6 => "[a-z]{1,3}".prop_map(String::into_bytes),
        1 => "[0-9a-f]{2}".prop_map(String::into_bytes),
        1 => vec(any_byte, 1..12),
        1 => "[a-z]".prop_map(|s| s.repeat(255).into_bytes()),
    ]
    .prop_filter("no dots", |name| name != b"." && name != b"..")
}

fn xattr_name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "user\\.[a-f]{1,2}",
        1 => "trusted\\.[a-c]",
        1 => select(vec![
            "security.selinux", "security.capability", "system.posix_acl_access", "system.posix_acl_default",
            "trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "user.overlay.opaque",
            "lustre.x", "other", "trusted.overlay.whiteout", "user.overlay.whiteouts",
        ])
        .prop_map(str::to_owned),
    ]
    .prop_map(String::into_bytes)
}

fn xattrs() -> impl Strategy<Value = BTreeMap<Vec<u8>, Vec<u8>>> {
    // Few values, so that many are shared.
    let value = prop_oneof![
        3 => select(vec![b"".to_vec(), b"v".to_vec(), b"w".to_vec(), vec![0, 255]]),
        1 => vec(any::<u8>(), 0..40),
    ];
    prop_oneof![
        4 => Just(BTreeMap::new()),
        3 => btree_map(xattr_name(), value, 1..4),
        // More than an image's inode can share.
        1 => Just((0..140).map(|i| (format!("user.many{i}").into_bytes(), b"x".to_vec())).collect()),
    ]
}

fn digest(algorithm: Algorithm) -> impl Strategy<Value = Digest> {
    // From few contents, so that files share objects.
    any::<u8>().prop_map(move |b| verity::digest(algorithm, &[b % 8; 100]))
}

fn regular(algorithm: Algorithm) -> impl Strategy<Value = NodeKind> {
    let kept = vec(any::<u8>(), 1..5000).prop_map(|content| (content.len() as u64, Some(content)));
    let short = vec(any::<u8>(), 1..65).prop_map(|content| (content.len() as u64, Some(content)));
    let size = prop_oneof![
        4 => 65u64..100_000,
        1 => 1u64 << 32..1 << 40,
        1 => (1u64 << 43) - 2..(1 << 43) + 2,
        1 => Just(1 << 53),
    ];
    let payload = prop_oneof![
        4 => digest(algorithm).prop_map(|d| d.object_path().into_bytes()),
        1 => "[a-z/]{1,40}".prop_map(String::into_bytes),
    ];
    prop_oneof![
        1 => Just(NodeKind::Regular { size: 0, content: None, payload: None, digest: None }),
        3 => prop_oneof![short, kept]
            .prop_map(|(size, content)| NodeKind::Regular { size, content, payload: None, digest: None }),
        5 => (size, prop::option::weighted(0.9, payload), prop::option::weighted(0.9, digest(algorithm)))
            .prop_map(|(size, payload, digest)| NodeKind::Regular { size, content: None, payload, digest }),
    ]
}

fn kind(algorithm: Algorithm) -> impl Strategy<Value = NodeKind> {
    let target = prop_oneof![4 => "[a-z./]{1,20}", 1 => Just("t".repeat(4095)), 1 => "[a-z]{60,90}"];
    prop_oneof![
        6 => Just(NodeKind::Directory),
        8 => regular(algorithm),
        3 => target.prop_map(|t| NodeKind::Symlink(t.into_bytes())),
        1 => (select(vec![0o020000, 0o060000]), any::<u32>()).prop_map(|(bits, rdev)| NodeKind::Device(bits, rdev)),
        1 => Just(NodeKind::Device(0o020000, 0)),
        1 => select(vec![0o010000, 0o140000]).prop_map(NodeKind::Special),
        // Which node it is a link to is chosen later.
        2 => Just(NodeKind::Link(0)),
    ]
}

fn node(algorithm: Algorithm) -> impl Strategy<Value = ModelNode> {
    let id = || prop_oneof![6 => Just(0u32), 2 => 1u32..65536, 1 => any::<u32>()];
    let sec = prop_oneof![4 => Just(1_700_000_000i64), 2 => 0i64..10, 1 => any::<i64>()];
    let nsec = prop_oneof![3 => Just(0u32), 1 => 0u32..1_000_000_000];
    let nlink = prop_oneof![6 => Just(1u32), 1 => 2u32..70000];
    (name(), kind(algorithm), 0u32..0o10000, nlink, (id(), id()), (sec, nsec), xattrs()).prop_map(
        |(name, kind, permissions, nlink, (uid, gid), (sec, nsec), xattrs)| {
            let mtime = Timestamp { sec, nsec };
            ModelNode { parent: 0, name, kind, permissions, nlink, uid, gid, mtime, xattrs }
        },
    )
}

/// Generates models of up to `max_nodes` nodes.
pub fn models(algorithm: Algorithm, max_nodes: usize) -> impl Strategy<Value = Model> {
    let draft = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), node(algorithm))
        .prop_map(|(parent, target, node)| NodeDraft { parent, target, node });
    (node(algorithm), vec(draft, 0..max_nodes)).prop_map(move |(root, drafts)| assemble(algorithm, root, drafts))
}

/// Gives each draft a parent among the directories before it; drops drafts whose name is taken.
fn assemble(algorithm: Algorithm, root: ModelNode, drafts: Vec<NodeDraft>) -> Model {
    let root = ModelNode { parent: 0, name: Vec::new(), kind: NodeKind::Directory, ..root };
    let mut nodes = vec![root];
    let mut directories = vec![0];
    let mut files: Vec<usize> = Vec::new();
    let mut taken = BTreeSet::new();
    for NodeDraft { parent, target, mut node } in drafts {
        node.parent = *parent.get(&directories);
        if !taken.insert((node.parent, node.name.clone())) {
            continue;
        }
        if matches!(node.kind, NodeKind::Link(_)) {
            if files.is_empty() {
                continue;
            }
            node.kind = NodeKind::Link(*target.get(&files));
        }
        if node.kind == NodeKind::Device(0o020000, 0) {
            // The reference miscounts a marker that replaces a value; that case is a golden.
            node.xattrs.retain(|name, _| !name.starts_with(b"trusted.overlay.whiteout"));
        }
        if node.kind == NodeKind::Directory {
            directories.push(nodes.len());
            node.xattrs.retain(|name, _| !name.ends_with(b"overlay.whiteouts"));
        } else {
            files.push(nodes.len());
        }
        nodes.push(node);
    }
    Model { algorithm, nodes }
}

/// A fixed series of models: the same ones on every machine and in every run.
pub fn series(algorithm: Algorithm, max_nodes: usize, count: usize) -> impl Iterator<Item = Model> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[max_nodes as u8; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = models(algorithm, max_nodes);
    (0..count).map(move |_| strategy.new_tree(&mut runner).expect("the filters let nearly all pass").current())
}
