//! Explains differences between the times of modification of two builds.

use super::hint::Hint;
use super::{Cause, Diff, Field, FieldValue, Side};
use crate::tree::{Kind, Timestamp};

/// Adds the hints that explain why times differ.
pub(super) fn explain(diff: &Diff<'_>, cause: &Cause<'_>, hints: &mut Vec<Hint>) {
    for side in [Side::A, Side::B] {
        match (one_mtime(diff, side), one_mtime(diff, side.other())) {
            (Some(mtime), other) if mtime == Timestamp::default() && other != Some(mtime) => {
                hints.push(Hint::Epoch(side));
            }
            (Some(mtime), None) => hints.push(Hint::OneMtime(side, mtime)),
            _ => {}
        }
    }
    let times = pairs(diff, cause);
    for side in [Side::A, Side::B] {
        if !hints.is_empty() {
            return;
        }
        let seen = || times.iter().map(|pair| (pair[side as usize], pair[side.other() as usize]));
        if let Some(latest) = diff.tree(side).inodes().map(|inode| inode.mtime()).max()
            && latest.nsec == 0
            && seen().all(|(clamped, other)| clamped == latest && other > latest)
        {
            hints.push(Hint::Clamped(side, latest));
        } else if seen().all(|(whole, other)| whole.sec == other.sec && whole.nsec == 0) {
            hints.push(Hint::WholeSeconds(side));
        }
    }
    if hints.is_empty() && times.len() > 1 {
        let shift =
            |pair: &[Timestamp; 2]| (pair[0].nsec == pair[1].nsec).then(|| pair[1].sec.checked_sub(pair[0].sec));
        if let Some(Some(Some(seconds))) = super::same(times.iter().map(shift)) {
            hints.push(Hint::Shifted(seconds));
        }
    }
    if hints.is_empty() && cause.kind == Some(Kind::Directory) {
        hints.push(Hint::DirectoriesOnly);
    }
}

/// The time of all inodes of a tree that has several, if it is one.
fn one_mtime(diff: &Diff<'_>, side: Side) -> Option<Timestamp> {
    let tree = diff.tree(side);
    super::same(tree.inodes().map(|inode| inode.mtime())).filter(|_| tree.inode_count() > 1)
}

fn pairs(diff: &Diff<'_>, cause: &Cause<'_>) -> Vec<[Timestamp; 2]> {
    let changes = cause.changes.iter().map(|number| &diff.changes()[*number as usize]);
    let time = |side, change| match diff.value(side, change, Field::Mtime) {
        FieldValue::Time(time) => time,
        _ => Timestamp::default(),
    };
    changes.map(|change| [Side::A, Side::B].map(|side| time(side, change))).collect()
}
