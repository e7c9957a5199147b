//! The sections of a module: an ELF file that is not linked yet.

use crate::elf::sections::{u16_at, u32_at, u64_at};

const SHT_PROGBITS: u32 = 1;
pub(super) const SHT_SYMTAB: u32 = 2;
pub(super) const SHT_STRTAB: u32 = 3;
pub(super) const SHT_RELA: u32 = 4;
const SHT_NOBITS: u32 = 8;
const SHF_EXECINSTR: u64 = 4;
/// Size of an entry of a symbol table or of relocations.
pub(super) const ENTRY: usize = 24;
/// Most sections of a file.
const SECTIONS_MAX: usize = 4096;

/// A section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ModuleSection {
    /// The type (`SHT_*`).
    pub(super) kind: u32,
    pub(super) is_code: bool,
    /// Offset in the bytes of which the file is a part.
    pub(super) start: usize,
    pub(super) end: usize,
    /// Number of the section with the symbols of relocations, or the names of symbols.
    pub(super) link: usize,
    /// Number of the section that has relocations.
    pub(super) info: usize,
    /// Offset of the name in the bytes.
    name: usize,
    /// Whether it has the types, by its name.
    pub(super) is_btf: bool,
}

impl ModuleSection {
    /// Returns whether the section has bytes in the file.
    pub(super) fn has_bytes(&self) -> bool {
        self.kind != SHT_NOBITS && self.kind != 0
    }

    pub(super) fn name<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        name_at(bytes, self.name)
    }

    /// Returns whether the section consists of numbers that change.
    pub(super) fn has_numbers(&self) -> bool {
        matches!(self.kind, SHT_RELA | SHT_SYMTAB) || self.is_btf
    }
}

/// Up to 512 bytes before the next zero.
pub(super) fn name_at(bytes: &[u8], at: usize) -> &[u8] {
    let rest = bytes.get(at..).unwrap_or_default();
    let rest = &rest[..rest.len().min(512)];
    rest.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Returns the sections of a module that is at `start` to `end`; `None` if no module for x86-64 is there.
pub(super) fn sections(bytes: &[u8], start: usize, end: usize) -> Option<Vec<ModuleSection>> {
    let file = bytes.get(start..end)?;
    let size_at = |at| usize::try_from(u64_at(file, at)?).ok();
    let is_module = file.starts_with(b"\x7fELF\x02\x01\x01") && u16_at(file, 16)? == 1 && u16_at(file, 18)? == 62;
    if !is_module || u16_at(file, 58)? != 64 {
        return None;
    }
    let (table, count) = (size_at(40)?, usize::from(u16_at(file, 60)?));
    file.get(table..)?.get(..count.checked_mul(64)?)?;
    let names = size_at((table + usize::from(u16_at(file, 62)?) * 64).checked_add(24)?)?;
    let (mut list, mut sum) = (Vec::new(), 0usize);
    for number in 0..count.min(SECTIONS_MAX) {
        let at = table + number * 64;
        let kind = u32_at(file, at + 4)?;
        let has_bytes = kind != SHT_NOBITS && kind != 0;
        let (offset, size) = if has_bytes { (size_at(at + 24)?, size_at(at + 32)?) } else { (0, 0) };
        file.get(offset..)?.get(..size)?;
        // Sections that overlap would be walked many times.
        sum = sum.checked_add(size).filter(|sum| *sum <= file.len())?;
        let name = start + names.checked_add(u32_at(file, at)? as usize).filter(|name| *name < file.len())?;
        let is_code = u64_at(file, at + 8)? & SHF_EXECINSTR != 0;
        let (link, info) = (u32_at(file, at + 40)? as usize, u32_at(file, at + 44)? as usize);
        let is_btf = kind == SHT_PROGBITS && name_at(&bytes[..end], name) == b".BTF";
        let (start, end) = (start + offset, start + offset + size);
        list.push(ModuleSection { kind, is_code, start, end, link, info, name, is_btf });
    }
    Some(list)
}
