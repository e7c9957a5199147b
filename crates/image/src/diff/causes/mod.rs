//! Groups the changes between two trees by what they have in common, and explains the groups.
//!
//! One option of a build changes a field of thousands of entries. So the changes are grouped by field, and what all
//! changes of a group share (types, old value, new value) is stored once. If a known way of building explains a group,
//! it has a [`Hint`].

mod hint;
mod hints;
mod moved;
mod mtimes;

use std::collections::{BTreeMap, HashMap};

pub use hint::Hint;
pub use moved::moved;

use super::{Change, Diff, Field, FieldValue, Side};
use crate::tree::{Kind, SetId};

/// The number of attributes that are told apart by name. Beyond it an entry only counts as one whose attributes differ.
/// Real trees stay far below, but in a forged tree a name costs a few bytes and can have thousands of attributes.
const MOST_XATTRS: usize = 1 << 26;

/// The subject of a group of changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CauseSubject {
    /// They are in one tree only.
    Only(Side),
    /// A field that differs.
    Field(Field),
    /// An extended attribute that only one tree has on these entries.
    XattrOnly(Side, Vec<u8>),
    /// An extended attribute of two values.
    XattrValue(Vec<u8>),
}

/// A group of changes.
#[derive(Clone, Debug)]
pub struct Cause<'t> {
    /// The subject of the changes.
    pub subject: CauseSubject,
    /// The numbers of the changes in [`Diff::changes`].
    pub changes: Vec<u32>,
    /// Of how many entries that could differ in this.
    pub of: usize,
    /// The type of all of them, if they are of one.
    pub kind: Option<Kind>,
    /// Set if these are all entries of their type that both trees have.
    pub is_whole_kind: bool,
    /// The value that all of them have in the first tree, if it is the same.
    pub old: Option<FieldValue<'t>>,
    /// The value that all of them have in the second tree, if it is the same.
    pub new: Option<FieldValue<'t>>,
    /// The ways of building that explain the changes.
    pub hints: Vec<Hint>,
}

/// Groups the changes, the largest group first.
#[must_use]
pub fn causes<'t>(diff: &Diff<'t>) -> Vec<Cause<'t>> {
    let mut causes: Vec<_> = group(diff).into_iter().map(|(subject, changes)| cause(diff, subject, changes)).collect();
    for cause in &mut causes {
        cause.hints = hints::find(diff, cause);
    }
    // Among groups of one size, explained ones come first.
    causes.sort_by_key(|cause| (std::cmp::Reverse(cause.changes.len()), cause.hints.is_empty()));
    causes
}

fn group(diff: &Diff<'_>) -> BTreeMap<CauseSubject, Vec<u32>> {
    let mut only = [Vec::new(), Vec::new()];
    let mut fields = Field::ALL.map(|_| Vec::new());
    let mut sets: HashMap<[SetId; 2], Vec<u32>> = HashMap::new();
    for (number, change) in (0u32..).zip(diff.changes()) {
        if let Some(side) = change.only() {
            only[side as usize].push(number);
        }
        for field in change.fields().iter() {
            match field {
                // Real trees have few sets of attributes: each pair of them is looked at once.
                Field::Xattrs => sets.entry(diff.xattr_sets(change)).or_default().push(number),
                field => fields[field as usize].push(number),
            }
        }
    }
    let [only_a, only_b] = only;
    let mut groups = BTreeMap::from([(CauseSubject::Only(Side::A), only_a), (CauseSubject::Only(Side::B), only_b)]);
    groups.extend(Field::ALL.into_iter().map(CauseSubject::Field).zip(fields));
    let mut sets: Vec<_> = sets.into_values().collect();
    sets.sort_unstable();
    let mut budget = MOST_XATTRS;
    for numbers in sets {
        if budget == 0 {
            groups.entry(CauseSubject::Field(Field::Xattrs)).or_default().extend(&numbers);
            continue;
        }
        for xattr in diff.xattrs(&diff.changes()[numbers[0] as usize]) {
            let name = xattr.name.to_vec();
            let subject = match (xattr.old, xattr.new) {
                (Some(_), None) => CauseSubject::XattrOnly(Side::A, name),
                (None, _) => CauseSubject::XattrOnly(Side::B, name),
                (Some(_), Some(_)) => CauseSubject::XattrValue(name),
            };
            groups.entry(subject).or_default().extend(&numbers);
            budget = budget.saturating_sub(numbers.len());
        }
    }
    groups.retain(|_, changes| !changes.is_empty());
    groups.values_mut().for_each(|changes| changes.sort_unstable());
    groups
}

fn cause<'t>(diff: &Diff<'t>, subject: CauseSubject, changes: Vec<u32>) -> Cause<'t> {
    let counts = diff.counts();
    let side = if subject == CauseSubject::Only(Side::B) { Side::B } else { Side::A };
    let of_changes = || changes.iter().map(|number| &diff.changes()[*number as usize]);
    let kind = same(of_changes().map(|change| kind(diff, side, change))).flatten();
    let (old, new) = match subject {
        CauseSubject::Field(field) => {
            let shared = |side| same(of_changes().map(|change| diff.value(side, change, field)));
            (shared(Side::A), shared(Side::B))
        }
        _ => (None, None),
    };
    let of = match &subject {
        CauseSubject::Only(Side::A) => counts.common + counts.only_a,
        CauseSubject::Only(Side::B) => counts.common + counts.only_b,
        CauseSubject::Field(field) => comparable(diff, *field),
        CauseSubject::XattrOnly(..) | CauseSubject::XattrValue(_) => counts.common,
    };
    let is_in_both = !matches!(subject, CauseSubject::Only(_));
    let is_whole_kind = is_in_both && kind.is_some_and(|kind| counts.common_of(kind) == changes.len());
    Cause { subject, changes, of, kind, is_whole_kind, old, new, hints: Vec::new() }
}

fn kind(diff: &Diff<'_>, side: Side, change: &Change) -> Option<Kind> {
    diff.inode(side, change).map(|inode| inode.kind())
}

/// Returns the number of common entries that have such a field.
fn comparable(diff: &Diff<'_>, field: Field) -> usize {
    let counts = diff.counts();
    let of = |kinds: &[Kind]| kinds.iter().map(|kind| counts.common_of(*kind)).sum();
    match field {
        Field::Size | Field::Content | Field::Storage | Field::Payload => of(&[Kind::Regular]),
        Field::Target => of(&[Kind::Symlink]),
        Field::Rdev => of(&[Kind::CharDevice, Kind::BlockDevice]),
        Field::Nlink | Field::Links | Field::Place => counts.common - counts.common_of(Kind::Directory),
        _ => counts.common,
    }
}

/// The value of all, if it is one.
fn same<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

#[cfg(test)]
mod tests;
