//! Counts of differences.

use super::{Change, Field, Side};
use crate::tree::Kind;

/// The number of entries on each side, and of entries that differ in each field. The root counts as an entry, and so
/// does each name of an inode with several names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Entries that both trees have.
    pub common: usize,
    /// Of those, the ones that differ in some field.
    pub changed: usize,
    /// Entries that only the first tree has.
    pub only_a: usize,
    /// Entries that only the second tree has.
    pub only_b: usize,
    /// Files whose contents were not compared, as the digests of the trees are of two algorithms.
    pub incomparable: usize,
    fields: [usize; Field::ALL.len()],
    kinds: [usize; KINDS],
}

const KINDS: usize = 7;

impl Counts {
    /// In how many of the common entries a field differs.
    #[must_use]
    pub fn field(&self, field: Field) -> usize {
        self.fields[field as usize]
    }

    /// Returns the number of common entries that are of a type in both trees.
    #[must_use]
    pub fn common_of(&self, kind: Kind) -> usize {
        self.kinds[kind as usize]
    }

    /// Returns the number of entries that differ or are in one tree only.
    #[must_use]
    pub fn differing(&self) -> usize {
        self.changed + self.only_a + self.only_b
    }

    pub(super) fn note_common(&mut self, a: Kind, b: Kind) {
        self.common += 1;
        if a == b {
            self.kinds[a as usize] += 1;
        }
    }

    pub(super) fn add(&mut self, change: &Change) {
        match change.only() {
            Some(Side::A) => self.only_a += 1,
            Some(Side::B) => self.only_b += 1,
            None => self.changed += 1,
        }
        change.fields().iter().for_each(|field| self.fields[field as usize] += 1);
    }
}
