//! An old module and the new one that it became: where its bytes, symbols and tables are.

use std::collections::HashMap;

use super::sections::{ENTRY, ModuleSection, SHT_RELA, SHT_STRTAB, SHT_SYMTAB, name_at};
use crate::btf::TypeVotes;
use crate::elf::parts::{MatchedPart, aligned, mixed};
use crate::elf::sections::{u16_at, u32_at, u64_at};

/// Old numbers from `start` on that are new ones from `target` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumberPiece {
    pub(super) start: u64,
    pub(super) len: u64,
    pub(super) target: u64,
}

impl NumberPiece {
    pub(super) fn one(start: u64, target: u64) -> Self {
        Self { start, len: 1, target }
    }
}

pub(super) struct ModulePair<'a> {
    pub(super) old: &'a [u8],
    pub(super) new: &'a [u8],
    pub(super) from: &'a [ModuleSection],
    pub(super) to: &'a [ModuleSection],
}

impl ModulePair<'_> {
    /// The section of the new module that has the name of an old one.
    fn same(&self, section: &ModuleSection) -> Option<&ModuleSection> {
        let name = section.name(self.old);
        self.to.iter().find(|other| other.kind == section.kind && other.name(self.new) == name)
    }

    /// The beginnings of sections, and what is in them as far as it has no numbers.
    pub(super) fn sections(&self, parts: &[MatchedPart], pieces: &mut Vec<NumberPiece>) {
        let mut matched = Vec::new();
        for section in self.from.iter().filter(|section| section.start < section.end) {
            let same = self.same(section);
            pieces.extend(same.map(|same| NumberPiece::one(section.start as u64, same.start as u64)));
            if !section.has_numbers() && section.kind != SHT_STRTAB {
                matched.push((section.start + 1, section.end));
            }
        }
        matched.sort_unstable();
        for part in parts {
            let first = matched.partition_point(|(_, end)| *end <= part.old);
            let end = part.old + part.len;
            for section in matched[first..].iter().take_while(|section| section.0 < end) {
                let (start, end) = (part.old.max(section.0), end.min(section.1));
                let (start, len, target) = (start, end.saturating_sub(start), part.new + (start - part.old));
                pieces.push(NumberPiece { start: start as u64, len: len as u64, target: target as u64 });
            }
        }
    }

    /// Symbols and their names, by what the names are.
    pub(super) fn symbols(&self, pieces: &mut Vec<NumberPiece>) {
        let (Some(old), Some(new)) = (symbols(self.old, self.from), symbols(self.new, self.to)) else { return };
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        for symbol in new.into_iter().rev() {
            by_name.entry((symbol.is_section, symbol.name)).or_default().push(symbol);
        }
        for symbol in old {
            // Of several with the same name the first is that of the first.
            let Some(new) = by_name.get_mut(&(symbol.is_section, symbol.name)).and_then(Vec::pop) else { continue };
            pieces.push(NumberPiece::one(symbol.at as u64, new.at as u64));
            if !symbol.is_section {
                pieces.push(NumberPiece::one(symbol.name_at as u64, new.name_at as u64));
            }
        }
    }

    /// The numbers of types and their names.
    pub(super) fn types(&self, votes: &mut TypeVotes) {
        let range = |list: &[ModuleSection]| list.iter().find(|section| section.is_btf).map(|one| (one.start, one.end));
        if let (Some(from), Some(to)) = (range(self.from), range(self.to)) {
            votes.count((self.old, from), (self.new, to));
        }
    }

    /// The places of relocations outside code, by what is relocated; `self.old` has the new symbols and addends, and
    /// `original` the old places. Appends the range of each such section, too.
    pub(super) fn tables(&self, original: &[u8], tables: &mut Vec<(u64, u64)>, pieces: &mut Vec<NumberPiece>) {
        for section in self.from.iter().filter(|section| section.kind == SHT_RELA) {
            let Some(same) = self.same(section) else { continue };
            let (Some(from), Some(to)) = (self.from.get(section.info), self.to.get(same.info)) else { continue };
            if from.is_code || !from.has_bytes() || !to.has_bytes() {
                continue;
            }
            tables.push((from.start as u64, from.end as u64));
            pieces.push(NumberPiece::one(from.start as u64, to.start as u64));
            let tokens = |bytes: &[u8], section: &ModuleSection| -> Vec<u64> {
                let entries = bytes[section.start..section.end].chunks_exact(ENTRY);
                entries.map(|entry| entry[8..].iter().fold(0, |token, byte| mixed(token, u64::from(*byte)))).collect()
            };
            for (old, new) in aligned(&tokens(self.old, section), &tokens(self.new, same)) {
                let place = |bytes: &[u8], section: &ModuleSection, target: &ModuleSection, index: usize| {
                    (target.start as u64).checked_add(u64_at(bytes, section.start + index * ENTRY)?)
                };
                if let (Some(old), Some(new)) = (place(original, section, from, old), place(self.new, same, to, new))
                    && old > from.start as u64
                    && old < from.end as u64
                {
                    pieces.push(NumberPiece::one(old, new));
                }
            }
        }
    }
}

/// A symbol of a module: where it is, and its name or that of its section.
struct ModuleSymbol<'b> {
    at: usize,
    name: &'b [u8],
    name_at: usize,
    is_section: bool,
}

fn symbols<'b>(bytes: &'b [u8], list: &[ModuleSection]) -> Option<Vec<ModuleSymbol<'b>>> {
    let table = list.iter().find(|section| section.kind == SHT_SYMTAB)?;
    let names = list.get(table.link)?.start;
    let symbol = |at: usize| {
        let name_at_offset = u32_at(bytes, at)? as usize;
        let (name_at_all, is_section) = (names.checked_add(name_at_offset)?, name_at_offset == 0);
        let section = usize::from(u16_at(bytes, at + 6)?);
        let name = match is_section {
            true => list.get(section).map(|section| section.name(bytes)).unwrap_or_default(),
            false => name_at(bytes, name_at_all),
        };
        Some(ModuleSymbol { at, name, name_at: name_at_all, is_section })
    };
    Some((table.start..table.end).step_by(ENTRY).filter_map(symbol).collect())
}
