//! The addresses in an ELF file: where they are, how they are stored, and what replaces them.

use super::sections::{ElfSection, ElfSections, sections, u16_at, u32_at, u64_at};
use crate::btf::replace_types;

const SHT_PROGBITS: u32 = 1;
const SHT_SYMTAB: u32 = 2;
const SHT_RELA: u32 = 4;
const SHT_DYNAMIC: u32 = 6;
const SHT_DYNSYM: u32 = 11;
const SHT_INIT_ARRAY: u32 = 14;
const SHT_FINI_ARRAY: u32 = 15;
const SHT_RELR: u32 = 19;
/// Relocations whose addend is an address.
const R_RELATIVE: u32 = 8;
const R_IRELATIVE: u32 = 37;
/// Sections of a kernel with fields of four bytes that are relative to themselves.
const RELATIVE_TABLES: [&[u8]; 8] = [
    b".orc_unwind_ip",
    b".retpoline_sites",
    b".return_sites",
    b".smp_locks",
    b"__bug_table",
    b"__ex_table",
    b"__ksymtab",
    b"__ksymtab_gpl",
];
const STT_TLS: u8 = 6;
/// Most candidates of jump tables.
const TABLES_MAX: usize = 1 << 20;

/// An address that is stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredAddress {
    /// Eight bytes: the address.
    Absolute(u64),
    /// Four bytes: `target - (anchor + addend)`.
    Relative { anchor: u64, addend: u64, target: u64 },
    /// Four bytes: `anchor - target`.
    Backward { anchor: u64, target: u64 },
    /// Four bytes: a number that counts from the address `space`.
    Number { space: u64, number: u64 },
}

/// Calls `replace` with each address that is found in a file, in the order of the specification, and writes the value
/// that it returns in its place: eight or four bytes of it. A file of another kind has no addresses.
pub(crate) fn replace_references(bytes: &mut [u8], replace: &mut dyn FnMut(StoredAddress) -> u64) {
    let Some(all) = sections(bytes) else { return };
    let mut walk = ReferenceWalk { bytes, all: &all, replace, tables: Vec::new() };
    for section in all.list.iter().filter(|section| section.is_code() && section.kind == SHT_PROGBITS) {
        walk.code(section);
    }
    walk.jump_tables();
    for section in &all.list {
        match section.kind {
            SHT_RELA => walk.relocations(section),
            SHT_RELR | SHT_INIT_ARRAY | SHT_FINI_ARRAY | SHT_DYNAMIC => walk.pointers(section),
            SHT_DYNSYM | SHT_SYMTAB => walk.symbols(section),
            _ if section.file_size == 0 || section.is_code() => {}
            _ if section.name == b".eh_frame_hdr" => walk.frame_table(section),
            _ if section.name == b".eh_frame" => walk.frames(section),
            _ if all.is_types(section) => walk.types(section),
            SHT_PROGBITS if all.is_kernel() && RELATIVE_TABLES.contains(&section.name.as_slice()) => {
                walk.relative_table(section);
            }
            SHT_PROGBITS if section.is_writable() || all.is_kernel() => walk.pointers(section),
            _ => {}
        }
    }
    if all.is_kernel() {
        walk.addresses_after_headers();
    }
}

struct ReferenceWalk<'a> {
    bytes: &'a mut [u8],
    all: &'a ElfSections,
    replace: &'a mut dyn FnMut(StoredAddress) -> u64,
    /// Addresses that may be those of jump tables.
    tables: Vec<u64>,
}

impl ReferenceWalk<'_> {
    fn put32(&mut self, at: usize, reference: StoredAddress) {
        let value = (self.replace)(reference) as u32;
        if let Some(field) = self.bytes.get_mut(at..at + 4) {
            field.copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Replaces an address of the image in eight bytes.
    fn put_pointer(&mut self, at: usize) {
        let Some(value) = u64_at(self.bytes, at) else { return };
        if value != 0 && value >= self.all.image.0 && value < self.all.image.1 {
            let value = (self.replace)(StoredAddress::Absolute(value));
            self.bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Replaces four bytes that are relative to an anchor, if they lead into the image.
    fn put_relative(&mut self, at: usize, anchor: u64, addend: u64) {
        if let Some(target) = self.target(at, anchor.wrapping_add(addend), self.all.image) {
            self.put32(at, StoredAddress::Relative { anchor, addend, target });
        }
    }

    /// The address that four bytes at `at` lead to from `from`, if it is in `range`.
    fn target(&self, at: usize, from: u64, range: (u64, u64)) -> Option<u64> {
        let target = from.wrapping_add_signed(i64::from(u32_at(self.bytes, at)?.cast_signed()));
        (target >= range.0 && target < range.1).then_some(target)
    }

    /// Operands of calls and jumps, and those relative to the instruction pointer.
    fn code(&mut self, section: &ElfSection) {
        let (mut at, end) = (section.offset, section.offset + section.file_size);
        while at + 5 <= end {
            let byte = self.bytes[at];
            let (operand, range) = match byte {
                0xe8 | 0xe9 => (at + 1, self.all.code),
                0x0f if self.bytes[at + 1] & 0xf0 == 0x80 && at + 6 <= end => (at + 2, self.all.code),
                _ if byte & 0xc7 == 0x05 => (at + 1, self.all.image),
                _ => {
                    at = self.short_address(at, end).unwrap_or(at + 1);
                    continue;
                }
            };
            let anchor = section.address + (operand - section.offset) as u64;
            let Some(target) = self.target(operand, anchor.wrapping_add(4), range) else {
                at = self.short_address(at, end).unwrap_or(at + 1);
                continue;
            };
            let is_lea = byte & 0xc7 == 0x05 && at > section.offset && self.bytes[at - 1] == 0x8d;
            if is_lea && target % 4 == 0 && self.tables.len() < TABLES_MAX {
                self.tables.push(target);
            }
            self.put32(operand, StoredAddress::Relative { anchor, addend: 4, target });
            at = operand + 4;
        }
    }

    /// Replaces an address of four bytes in an instruction of a kernel, and returns the offset after it.
    fn short_address(&mut self, at: usize, end: usize) -> Option<usize> {
        if !self.all.is_kernel() {
            return None;
        }
        let operand = match self.bytes[at..end] {
            [0xc7, 0xc0..=0xc7, ..] | [0x81, 0xf8..=0xff, ..] => at + 2,
            [byte, sib, ..] if byte & 0xc7 == 4 && sib & 7 == 5 => at + 2,
            [0x68 | 0xb8..=0xbf, ..] => at + 1,
            [byte, ..] if byte & 0xc0 == 0x80 && byte & 7 != 4 => at + 1,
            _ => return None,
        };
        (operand + 4 <= end && self.put_short(operand)).then_some(operand + 4)
    }

    /// Replaces an address of the image in four bytes, which have the sign of all of it.
    fn put_short(&mut self, at: usize) -> bool {
        let Some(value) = u32_at(self.bytes, at) else { return false };
        let address = i64::from(value.cast_signed()).cast_unsigned();
        let counts = address >= self.all.image.0 && address < self.all.image.1;
        if counts {
            self.put32(at, StoredAddress::Absolute(address));
        }
        counts
    }

    /// The numbers of types and their names.
    fn types(&mut self, section: &ElfSection) {
        let (start, end) = (section.offset, section.offset + section.file_size);
        replace_types(self.bytes, start, end, &mut |space, number| {
            (self.replace)(StoredAddress::Number { space, number })
        });
    }

    fn relative_table(&mut self, section: &ElfSection) {
        for index in 0..section.file_size / 4 {
            self.put_relative(section.offset + index * 4, section.address + index as u64 * 4, 0);
        }
    }

    /// The places that a kernel changes when it moves itself: a list after the file.
    fn addresses_after_headers(&mut self) {
        let mut at = self.all.headers_end;
        while at + 4 <= self.bytes.len() {
            self.put_short(at);
            at += 4;
        }
    }

    /// Tables of offsets from their own start to code, in read-only data.
    fn jump_tables(&mut self) {
        let mut tables = std::mem::take(&mut self.tables);
        tables.sort_unstable();
        tables.dedup();
        for section in &self.all.list {
            if section.kind != SHT_PROGBITS || section.is_code() || section.is_writable() {
                continue;
            }
            let end = section.address + section.size;
            let first = tables.partition_point(|table| *table < section.address);
            let mut here = tables[first..].iter().copied().take_while(|table| *table < end).peekable();
            while let Some(table) = here.next() {
                let next = here.peek().copied().unwrap_or(end);
                let mut address = table;
                while address + 4 <= next {
                    let at = section.offset + (address - section.address) as usize;
                    let Some(target) = self.target(at, table, self.all.code) else { break };
                    self.put32(at, StoredAddress::Relative { anchor: table, addend: 0, target });
                    address += 4;
                }
            }
        }
    }

    fn relocations(&mut self, section: &ElfSection) {
        for index in 0..section.file_size / 24 {
            let at = section.offset + index * 24;
            self.put_pointer(at);
            if matches!(u32_at(self.bytes, at + 8), Some(R_RELATIVE | R_IRELATIVE)) {
                self.put_pointer(at + 16);
            }
        }
    }

    fn symbols(&mut self, section: &ElfSection) {
        for index in 0..section.file_size / 24 {
            let at = section.offset + index * 24;
            let is_defined = u16_at(self.bytes, at + 6).is_some_and(|section| section > 0 && section < 0xff00);
            if is_defined && self.bytes.get(at + 4).is_some_and(|info| info & 15 != STT_TLS) {
                self.put_pointer(at + 8);
            }
        }
    }

    fn pointers(&mut self, section: &ElfSection) {
        for index in 0..section.file_size / 8 {
            self.put_pointer(section.offset + index * 8);
        }
    }

    /// The table for a binary search in the frames (`.eh_frame_hdr`): pairs relative to the section.
    fn frame_table(&mut self, section: &ElfSection) {
        self.put_relative(section.offset + 4, section.address + 4, 0);
        for index in 3..section.file_size / 4 {
            self.put_relative(section.offset + index * 4, section.address, 0);
        }
    }

    /// Frame descriptions (`.eh_frame`): the distance to their common part, the function, and its table.
    fn frames(&mut self, section: &ElfSection) {
        let (mut at, end) = (section.offset, section.offset + section.file_size);
        while let Some(len) = u32_at(&self.bytes[..end], at).filter(|len| *len != 0) {
            let next = at.saturating_add(4).saturating_add(len as usize);
            if next > end {
                return;
            }
            let anchor = section.address + (at + 4 - section.offset) as u64;
            let id = u32_at(&self.bytes[..next], at + 4).filter(|id| *id != 0 && len >= 13);
            if let Some(id) = id {
                let target = anchor.wrapping_sub(u64::from(id));
                self.put32(at + 4, StoredAddress::Backward { anchor, target });
                self.put_relative(at + 8, anchor + 4, 0);
                if self.bytes[at + 16] == 4 && len >= 17 && u32_at(self.bytes, at + 17) != Some(0) {
                    self.put_relative(at + 17, anchor + 13, 0);
                }
            }
            at = next;
        }
    }
}
