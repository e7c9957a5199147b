//! The numbers of types: what they became is learned where types of both modules are the same except for numbers.

use std::collections::HashMap;

use super::btf::{BtfRecord, Word, records};
use super::numbers::{NAMES, TYPES};
use super::pair::{ModulePair, aligned, mixed};
use super::sections::Section;
use crate::elf::sections::u32_at;

/// For each old number the new ones, and how often each was found.
pub(super) type TypeVotes = HashMap<u64, HashMap<u64, usize>>;

/// Counts the new numbers of the types and names of a module.
pub(super) fn vote(pair: &ModulePair<'_>, votes: &mut TypeVotes) {
    let (old, new) = (all_records(pair.old, pair.from), all_records(pair.new, pair.to));
    let tokens = |bytes: &[u8], list: &[BtfRecord]| -> Vec<u64> { list.iter().map(|one| token(bytes, one)).collect() };
    for (from, to) in aligned(&tokens(pair.old, &old), &tokens(pair.new, &new)) {
        for ((from, word), (to, _)) in old[from].words().zip(new[to].words()) {
            let space = match word {
                Word::Plain => continue,
                Word::Type => TYPES,
                Word::Name => NAMES,
            };
            let (from, to) = (u32_at(pair.old, from).unwrap_or(0), u32_at(pair.new, to).unwrap_or(0));
            if from != 0 && to != 0 {
                let targets = votes.entry(space + u64::from(from)).or_default();
                *targets.entry(space + u64::from(to)).or_default() += 1;
            }
        }
    }
}

fn all_records(bytes: &[u8], list: &[Section]) -> Vec<BtfRecord> {
    let section = list.iter().find(|section| section.is_btf);
    section.map(|section| records(bytes, section.start, section.end).collect()).unwrap_or_default()
}

/// A number that is the same for types that are the same except for numbers.
fn token(bytes: &[u8], record: &BtfRecord) -> u64 {
    let plain = record.words().filter(|(_, word)| *word == Word::Plain);
    plain.fold(0, |token, (at, _)| mixed(token, u64::from(u32_at(bytes, at).unwrap_or(0))))
}
