//! Finding what the numbers of old modules are in new ones.

use std::collections::HashMap;

use super::numbers::replace_numbers;
use super::pair::{ModulePair, NumberPiece};
use super::sections::{ModuleSection, sections};
use crate::btf::TypeVotes;
use crate::elf::address_map::AddressMap;
use crate::elf::matching::in_order;
use crate::elf::parts::matched_parts;

/// A module among the bytes of several files, and its sections.
struct ModuleFile {
    start: usize,
    end: usize,
    sections: Vec<ModuleSection>,
}

fn modules(bytes: &[u8], sizes: &[usize]) -> Vec<ModuleFile> {
    let (mut start, mut found) = (0, Vec::new());
    for size in sizes {
        let end = start + size;
        found.extend(sections(bytes, start, end).map(|sections| ModuleFile { start, end, sections }));
        start = end;
    }
    found
}

/// Returns the map from the numbers of old modules to those of new ones; `None` if there are no modules.
pub(super) fn find_map(old: &[u8], old_sizes: &[usize], new: &[u8], new_sizes: &[usize]) -> Option<AddressMap> {
    let (old_modules, new_modules) = (modules(old, old_sizes), modules(new, new_sizes));
    if old_modules.is_empty() || new_modules.is_empty() {
        return None;
    }
    let parts = matched_parts(&without_numbers(old, &old_modules), &without_numbers(new, &new_modules));
    // The new module of an old one is the one with which it has most bytes in common.
    let mut common: HashMap<(usize, usize), usize> = HashMap::new();
    for part in &parts {
        let index = |all: &[ModuleFile], at| {
            let index = all.partition_point(|module| module.end <= at);
            all.get(index).filter(|module| module.start <= at).map(|_| index)
        };
        if let (Some(from), Some(to)) = (index(&old_modules, part.old), index(&new_modules, part.new)) {
            *common.entry((from, to)).or_default() += part.len;
        }
    }
    let mut best: HashMap<usize, (usize, usize)> = HashMap::new();
    for ((from, to), len) in common {
        let best = best.entry(from).or_default();
        *best = (*best).max((len, to));
    }
    let pairs: Vec<_> = (0..old_modules.len()).filter_map(|from| Some((from, best.get(&from)?.1))).collect();
    let pair = |old, (from, to): (usize, usize)| {
        let (from, to) = (&old_modules[from].sections, &new_modules[to].sections);
        ModulePair { old, new, from, to }
    };
    let (mut pieces, mut votes) = (Vec::new(), TypeVotes::default());
    for indices in &pairs {
        let pair = pair(old, *indices);
        pair.sections(&parts, &mut pieces);
        pair.symbols(&mut pieces);
        pair.types(&mut votes);
    }
    pieces.extend(votes.distances().into_iter().map(|(number, by)| NumberPiece::one(number, number.wrapping_add(by))));
    // Tables hold only zeros, and are matched by the relocations in them, once these have new symbols and addends.
    let mut changed = old.to_vec();
    replace_numbers(&mut changed, old_sizes.iter().copied(), &map(&pieces));
    let (mut tables, mut places) = (Vec::new(), Vec::new());
    for indices in &pairs {
        pair(&changed, *indices).tables(old, &mut tables, &mut places);
    }
    tables.sort_unstable();
    pieces.retain(|piece| {
        let next = tables.partition_point(|(start, _)| *start < piece.start);
        next == 0 || piece.start >= tables[next - 1].1
    });
    pieces.extend(places);
    Some(map(&pieces))
}

fn map(pieces: &[NumberPiece]) -> AddressMap {
    let distance = |piece: &NumberPiece| (piece.start, piece.len, piece.target.wrapping_sub(piece.start));
    AddressMap::new(in_order(pieces.iter().map(distance).collect()))
}

/// The bytes, with zeros in the sections that are not matched by their bytes.
fn without_numbers(bytes: &[u8], modules: &[ModuleFile]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for section in modules.iter().flat_map(|module| &module.sections).filter(|section| section.has_numbers()) {
        bytes[section.start..section.end].fill(0);
    }
    bytes
}
