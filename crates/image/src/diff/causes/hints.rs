//! Ways of building that would explain what differs.

use super::hint::Hint;
use super::{Cause, CauseSubject, Diff, Field, FieldValue, Side, moved, mtimes};
use crate::tree::{Data, Inode, Kind, Tree};

const SIDES: [Side; 2] = [Side::A, Side::B];

/// Returns the ways of building that explain a cause.
pub(super) fn find(diff: &Diff<'_>, cause: &Cause<'_>) -> Vec<Hint> {
    let mut hints = Vec::new();
    match &cause.subject {
        CauseSubject::Only(side) => {
            let other = side.other();
            if matches!(cause.kind, Some(Kind::CharDevice | Kind::BlockDevice)) && !has_devices(diff.tree(other)) {
                hints.push(Hint::NoDevices(other));
            }
            let moved = moved(diff).len();
            if moved > 0 {
                hints.push(Hint::Moved(moved));
            }
        }
        CauseSubject::Field(Field::Mtime) => mtimes::explain(diff, cause, &mut hints),
        CauseSubject::Field(Field::Uid) if cause.changes.len() > 1 => {
            hints.extend(
                one_side(diff, |tree| super::same(tree.inodes().map(|i| i.uid()))).map(|(s, id)| Hint::OneUid(s, id)),
            );
        }
        CauseSubject::Field(Field::Gid) if cause.changes.len() > 1 => {
            hints.extend(
                one_side(diff, |tree| super::same(tree.inodes().map(|i| i.gid()))).map(|(s, id)| Hint::OneGid(s, id)),
            );
        }
        CauseSubject::Field(Field::Mode) => hints.extend(mask(diff, cause)),
        CauseSubject::Field(Field::Links) => {
            hints.extend(
                one_side(diff, |tree| (!tree.has_links()).then_some(())).map(|(side, ())| Hint::NoHardlinks(side)),
            );
        }
        CauseSubject::Field(Field::Storage) => {
            let [a, b] = SIDES.map(|side| longest_inline(diff.tree(side)));
            // The same limit, and a file that has come to lie on its other side.
            hints.extend((a != b).then_some(Hint::InlineMax(a, b)));
        }
        CauseSubject::XattrOnly(side, name) => hints.extend(xattr(diff, *side, name)),
        CauseSubject::XattrValue(name) if name == b"security.selinux" => hints.push(Hint::SecurityLabel),
        CauseSubject::Field(_) | CauseSubject::XattrValue(_) => {}
    }
    hints
}

/// Something that is true of exactly one of the trees.
fn one_side<T>(diff: &Diff<'_>, is_true: impl Fn(&Tree) -> Option<T>) -> Option<(Side, T)> {
    match SIDES.map(|side| is_true(diff.tree(side))) {
        [Some(value), None] => Some((Side::A, value)),
        [None, Some(value)] => Some((Side::B, value)),
        _ => None,
    }
}

fn has_devices(tree: &Tree) -> bool {
    tree.inodes().any(|inode| matches!(inode.kind(), Kind::CharDevice | Kind::BlockDevice))
}

/// Bits that all modes of one side lack, and that are all that differs.
fn mask(diff: &Diff<'_>, cause: &Cause<'_>) -> Option<Hint> {
    let mode = |side, number: &u32| match diff.value(side, &diff.changes()[*number as usize], Field::Mode) {
        FieldValue::Mode(mode) => mode,
        _ => 0,
    };
    SIDES.into_iter().find_map(|side| {
        let pairs = || cause.changes.iter().map(move |number| (mode(side, number), mode(side.other(), number)));
        let mask = pairs().fold(0, |mask, (masked, other)| mask | (other & !masked));
        pairs().all(|(masked, other)| masked == other & !mask).then_some(Hint::Masked(side, mask))
    })
}

fn longest_inline(tree: &Tree) -> usize {
    let content = |inode: Inode<'_>| match inode.data() {
        Data::Regular { content: Some(content), .. } => content.len(),
        _ => 0,
    };
    tree.inodes().map(content).max().unwrap_or_default()
}

fn xattr(diff: &Diff<'_>, side: Side, name: &[u8]) -> Option<Hint> {
    let other = side.other();
    let has = |side: Side, is_such: fn(&[u8]) -> bool| {
        let table = diff.tree(side).xattr_table();
        (0..table.pair_count() as u32).any(|pair| is_such(table.pair(pair).name))
    };
    let is_user = |name: &[u8]| name.starts_with(b"user.");
    if !has(other, |_| true) {
        Some(Hint::NoXattrs(other))
    } else if !is_user(name) && !has(other, |name| !name.starts_with(b"user.")) {
        Some(Hint::UserXattrs(other))
    } else if matches!(name, b"trusted.overlay.opaque" | b"user.overlay.opaque") && diff.tree(side).has_whiteout() {
        Some(Hint::WhiteoutMark)
    } else {
        (name == b"security.selinux").then_some(Hint::SecurityLabel)
    }
}
