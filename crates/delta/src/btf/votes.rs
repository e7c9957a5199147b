//! The numbers of types: what they became is learned where types of both modules are the same except for numbers.

use std::collections::HashMap;

use super::{BtfRecord, BtfWord, records};
use crate::elf::parts::{aligned, mixed};
use crate::elf::sections::u32_at;

/// Most stretches of new numbers; more are no use.
const STRETCHES_MAX: usize = 1 << 15;

/// For each old number the new ones, and how often each was found.
#[derive(Debug, Default)]
pub(crate) struct TypeVotes(HashMap<u64, HashMap<u64, usize>>);

impl TypeVotes {
    /// Counts the new numbers of the types and names of a section, given as its first and last offset.
    pub(crate) fn count(&mut self, (old, old_range): SectionBytes<'_>, (new, new_range): SectionBytes<'_>) {
        let (old_types, new_types) = (all_records(old, old_range), all_records(new, new_range));
        let tokens =
            |bytes: &[u8], list: &[BtfRecord]| -> Vec<u64> { list.iter().map(|one| token(bytes, one)).collect() };
        for (from, to) in aligned(&tokens(old, &old_types), &tokens(new, &new_types)) {
            for ((from, word), (to, _)) in old_types[from].words().zip(new_types[to].words()) {
                let Some(space) = word.space() else { continue };
                let (from, to) = (u32_at(old, from).unwrap_or(0), u32_at(new, to).unwrap_or(0));
                if from != 0 && to != 0 {
                    let targets = self.0.entry(space + u64::from(from)).or_default();
                    *targets.entry(space + u64::from(to)).or_default() += 1;
                }
            }
        }
    }

    /// Returns the old numbers, and by how much each becomes larger.
    pub(crate) fn distances(self) -> Vec<(u64, u64)> {
        let best = |(number, targets): (u64, HashMap<u64, usize>)| {
            let best = targets.into_iter().max_by_key(|(target, count)| (*count, *target))?;
            Some((number, best.0.wrapping_sub(number)))
        };
        let mut found: Vec<_> = self.0.into_iter().filter_map(best).collect();
        found.sort_unstable();
        let stretches = found.chunk_by(|one, other| one.1 == other.1).count();
        if stretches > STRETCHES_MAX { Vec::new() } else { found }
    }
}

/// Bytes, and the beginning and the end of a section in them.
type SectionBytes<'b> = (&'b [u8], (usize, usize));

fn all_records(bytes: &[u8], (start, end): (usize, usize)) -> Vec<BtfRecord> {
    records(bytes, start, end).collect()
}

/// A number that is the same for types that are the same except for numbers.
fn token(bytes: &[u8], record: &BtfRecord) -> u64 {
    let plain = record.words().filter(|(_, word)| *word == BtfWord::Plain);
    plain.fold(0, |token, (at, _)| mixed(token, u64::from(u32_at(bytes, at).unwrap_or(0))))
}
