//! Compares sets of attributes of two trees by number.
//!
//! Each tree stores each distinct attribute once, in order of name and value. So one merge finds the attribute of the
//! other tree that each one equals; after that two sets are equal if their numbers are, and no pair of sets is compared
//! twice.

use std::cmp::Ordering;

use super::XattrChange;
use crate::tree::{SetId, Tree, XattrTable};

/// No attribute of the other tree.
const NONE: u32 = u32::MAX;

/// Compares sets of attributes.
#[derive(Debug)]
pub(super) struct XattrComparison<'t> {
    a: &'t XattrTable,
    b: &'t XattrTable,
    /// For each attribute of A the equal one of B.
    in_b: Vec<u32>,
    /// Set for each attribute of A and of B that is ignored.
    ignored: [Vec<bool>; 2],
    /// For each set of A the set of B it was last found equal to, and the one it was last found different from.
    last: Vec<[Option<SetId>; 2]>,
}

impl<'t> XattrComparison<'t> {
    pub(super) fn new(a: &'t Tree, b: &'t Tree, ignored_names: &[Vec<u8>]) -> Self {
        let (a, b) = (a.xattr_table(), b.xattr_table());
        let ignored = [a, b].map(|table| {
            let is_ignored = |pair| ignored_names.iter().any(|name| name == table.pair(pair).name);
            // Nearly always there is nothing to pass over, and nothing is kept.
            if ignored_names.is_empty() { Vec::new() } else { pairs(table).map(is_ignored).collect() }
        });
        Self { a, b, in_b: match_pairs(a, b), ignored, last: vec![[None; 2]; a.set_count()] }
    }

    /// Returns `true` if two sets hold the same attributes.
    pub(super) fn are_equal(&mut self, a: SetId, b: SetId) -> bool {
        let [equal, different] = self.last[a.0 as usize];
        if equal == Some(b) || different == Some(b) {
            return equal == Some(b);
        }
        let is_ignored = |side: usize, pair: u32| self.ignored[side].get(pair as usize).copied().unwrap_or(false);
        let of_a =
            self.a.pairs_of(a).iter().filter(|pair| !is_ignored(0, **pair)).map(|pair| self.in_b[*pair as usize]);
        let of_b = self.b.pairs_of(b).iter().filter(|pair| !is_ignored(1, **pair)).copied();
        let are_equal = of_a.eq(of_b);
        self.last[a.0 as usize][usize::from(!are_equal)] = Some(b);
        are_equal
    }
}

fn pairs(table: &XattrTable) -> impl Iterator<Item = u32> {
    0..table.pair_count() as u32
}

/// For each attribute of one table the equal one of another.
fn match_pairs(a: &XattrTable, b: &XattrTable) -> Vec<u32> {
    let mut of_b = pairs(b).peekable();
    let find = |pair| {
        while let Some(&other) = of_b.peek() {
            match b.pair(other).cmp(&a.pair(pair)) {
                Ordering::Less => _ = of_b.next(),
                Ordering::Equal => return other,
                Ordering::Greater => break,
            }
        }
        NONE
    };
    pairs(a).map(find).collect()
}

/// Returns the differences between two sets, by name.
pub(super) fn changes<'t>(a: (&'t Tree, SetId), b: (&'t Tree, SetId), ignored: &[Vec<u8>]) -> Vec<XattrChange<'t>> {
    let mut of_a = a.0.xattr_table().iter(a.1).peekable();
    let mut of_b = b.0.xattr_table().iter(b.1).peekable();
    let mut changes = Vec::new();
    loop {
        let order = match (of_a.peek(), of_b.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.name.cmp(b.name),
        };
        let old = if order.is_le() { of_a.next() } else { None };
        let new = if order.is_ge() { of_b.next() } else { None };
        let Some(name) = old.or(new).map(|xattr| xattr.name) else { break };
        let (old, new) = (old.map(|xattr| xattr.value), new.map(|xattr| xattr.value));
        if old != new && !ignored.iter().any(|ignored| ignored == name) {
            changes.push(XattrChange { name, old, new });
        }
    }
    changes
}
