//! The numbers in a module: where they are, and what replaces them (`docs/format/frame.md`, section 8).

use super::sections::{ENTRY, ModuleSection, SHT_RELA, SHT_SYMTAB, sections};
use crate::btf::replace_types;
use crate::elf::address_map::AddressMap;
use crate::elf::sections::{u16_at, u32_at, u64_at};

/// Relocations that are relative to the byte after them, in code.
const R_PC32: u32 = 2;
const R_PLT32: u32 = 4;
const STT_SECTION: u8 = 3;

/// Changes the numbers in the modules that lie one after the other in `bytes`, each with its size.
pub(super) fn replace_numbers(bytes: &mut [u8], sizes: impl Iterator<Item = usize>, map: &AddressMap) {
    let mut start = 0;
    for size in sizes {
        if let Some(list) = sections(bytes, start, start + size) {
            let mut walk = NumberWalk { bytes, list: &list, map, near: 0, near_start: 0 };
            for section in &list {
                walk.section(section);
            }
        }
        start += size;
    }
}

struct NumberWalk<'a> {
    bytes: &'a mut [u8],
    list: &'a [ModuleSection],
    map: &'a AddressMap,
    /// Stretches that were used last: of an offset, and of the beginning of a section.
    near: usize,
    near_start: usize,
}

impl NumberWalk<'_> {
    fn section(&mut self, section: &ModuleSection) {
        let linked = self.list.get(section.link).copied();
        let entries = (section.start..section.end).step_by(ENTRY).take_while(|at| at + ENTRY <= section.end);
        match (section.kind, linked) {
            (SHT_RELA, Some(symbols)) if symbols.kind == SHT_SYMTAB => {
                let Some(target) = self.list.get(section.info).copied().filter(ModuleSection::has_bytes) else {
                    return;
                };
                entries.for_each(|at| self.relocation(at, &target, &symbols));
            }
            (SHT_SYMTAB, Some(names)) if names.has_bytes() => entries.for_each(|at| self.symbol(at, &names)),
            _ if section.is_btf => self.types(section),
            _ => {}
        }
    }

    fn relocation(&mut self, at: usize, target: &ModuleSection, symbols: &ModuleSection) {
        let (Some(offset), Some(kind)) = (u64_at(self.bytes, at), u32_at(self.bytes, at + 8)) else { return };
        let (Some(number), Some(addend)) = (u32_at(self.bytes, at + 12), u64_at(self.bytes, at + 16)) else { return };
        let moved = self.moved(target.start, offset);
        self.put(at, moved);
        let symbol =
            usize::try_from(u64::from(number) * ENTRY as u64).ok().and_then(|at| symbols.start.checked_add(at));
        let Some(symbol) = symbol.filter(|at| symbols.end.checked_sub(ENTRY).is_some_and(|last| *at <= last)) else {
            return;
        };
        let index = self.moved(symbols.start, u64::from(number) * ENTRY as u64) / ENTRY as u64;
        self.bytes[at + 12..at + 16].copy_from_slice(&(index as u32).to_le_bytes());
        if self.bytes[symbol + 4] & 15 == STT_SECTION
            && let Some(section) = self.section_of(symbol)
        {
            let after = if target.is_code && matches!(kind, R_PC32 | R_PLT32) { 4 } else { 0 };
            let moved = self.moved(section.start, addend.wrapping_add(after)).wrapping_sub(after);
            self.put(at + 16, moved);
        }
    }

    fn symbol(&mut self, at: usize, names: &ModuleSection) {
        let (Some(name), Some(value)) = (u32_at(self.bytes, at), u64_at(self.bytes, at + 8)) else { return };
        let name = self.moved(names.start, u64::from(name)) as u32;
        self.bytes[at..at + 4].copy_from_slice(&name.to_le_bytes());
        if let Some(section) = self.section_of(at) {
            let moved = self.moved(section.start, value);
            self.put(at + 8, moved);
        }
    }

    fn types(&mut self, section: &ModuleSection) {
        replace_types(self.bytes, section.start, section.end, &mut |space, number| {
            self.map.moved(space + number, &mut self.near).wrapping_sub(space)
        });
    }

    /// The section in which a symbol is, if it has bytes.
    fn section_of(&self, symbol: usize) -> Option<ModuleSection> {
        let number = usize::from(u16_at(self.bytes, symbol + 6)?);
        self.list.get(number).copied().filter(ModuleSection::has_bytes)
    }

    /// The offset that a byte of a section has in the section of the object.
    fn moved(&mut self, start: usize, offset: u64) -> u64 {
        let start = start as u64;
        let to = self.map.moved(start.wrapping_add(offset), &mut self.near);
        to.wrapping_sub(self.map.moved(start, &mut self.near_start))
    }

    fn put(&mut self, at: usize, value: u64) {
        self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
}
