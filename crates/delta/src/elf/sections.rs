//! The sections of an ELF file: those that are loaded into memory.

/// Most sections of a file.
const SECTIONS_MAX: usize = 4096;
/// Highest address: what is added to one is less than a page.
const ADDRESS_MAX: u64 = u64::MAX - 4096;
/// Lowest address of a kernel.
const KERNEL_MIN: u64 = 0xffff_ffff_8000_0000;
const SHT_PROGBITS: u32 = 1;
const SHT_NOBITS: u32 = 8;
const SHF_WRITE: u64 = 1;
const SHF_ALLOC: u64 = 2;
const SHF_EXECINSTR: u64 = 4;
const SHF_TLS: u64 = 0x400;

/// A section that is loaded into memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ElfSection {
    /// The name, up to 32 bytes.
    pub(crate) name: Vec<u8>,
    /// The type (`SHT_*`).
    pub(crate) kind: u32,
    flags: u64,
    /// The address in memory.
    pub(crate) address: u64,
    /// Offset in the file.
    pub(crate) offset: usize,
    /// Number of bytes in memory.
    pub(crate) size: u64,
    /// Number of bytes in the file: 0 or `size`.
    pub(crate) file_size: usize,
}

impl ElfSection {
    pub(crate) fn is_code(&self) -> bool {
        self.flags & SHF_EXECINSTR != 0
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.flags & SHF_WRITE != 0
    }
}

/// The sections of an ELF file, in the order of its section headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ElfSections {
    pub(crate) list: Vec<ElfSection>,
    /// The addresses of all sections: the lowest, and the first above all.
    pub(crate) image: (u64, u64),
    /// The addresses of all sections with code.
    pub(crate) code: (u64, u64),
    /// Offset in the file of the byte after the section headers.
    pub(crate) headers_end: usize,
}

impl ElfSections {
    /// Returns the beginning and the end of the types of a kernel.
    pub(crate) fn types(&self) -> Option<(usize, usize)> {
        let section = self.list.iter().find(|section| self.is_types(section))?;
        Some((section.offset, section.offset + section.file_size))
    }

    /// Returns whether a section has the types of a kernel.
    pub(crate) fn is_types(&self, section: &ElfSection) -> bool {
        self.is_kernel() && section.kind == SHT_PROGBITS && section.name == b".BTF"
    }

    /// True for kernels: all addresses are in the highest 2 GiB, and so have four bytes in code.
    pub(crate) fn is_kernel(&self) -> bool {
        self.image.0 >= KERNEL_MIN && self.image.0 < self.image.1
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn size_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64_at(bytes, at)?).ok()
}

/// Returns the sections of a 64-bit little-endian program or library for x86-64; `None` for every other content.
pub(crate) fn sections(bytes: &[u8]) -> Option<ElfSections> {
    let is_elf = bytes.starts_with(b"\x7fELF\x02\x01\x01") && matches!(u16_at(bytes, 16)?, 2 | 3);
    if !is_elf || u16_at(bytes, 18)? != 62 || u16_at(bytes, 58)? != 64 {
        return None;
    }
    let (table, count) = (size_at(bytes, 40)?, usize::from(u16_at(bytes, 60)?));
    let headers = bytes.get(table..)?.get(..count.checked_mul(64)?)?;
    let names = headers.get(usize::from(u16_at(bytes, 62)?).checked_mul(64)?..)?;
    let (names, names_size) = (size_at(names, 24)?, size_at(names, 32)?);
    let names = bytes.get(names..)?.get(..names_size)?;
    let mut found = ElfSections { list: Vec::new(), image: (u64::MAX, 0), code: (u64::MAX, 0), headers_end: 0 };
    found.headers_end = table + headers.len();
    for header in headers.chunks_exact(64).take(SECTIONS_MAX) {
        let flags = u64_at(header, 8)?;
        let (address, size) = (u64_at(header, 16)?, u64_at(header, 32)?);
        let kind = u32_at(header, 4)?;
        let is_loaded =
            flags & SHF_ALLOC != 0 && address.min(size) > 0 && !(kind == SHT_NOBITS && flags & SHF_TLS != 0);
        let end = address.checked_add(size).filter(|end| *end <= ADDRESS_MAX)?;
        if !is_loaded {
            continue;
        }
        let offset = size_at(header, 24)?;
        let file_size = if kind == SHT_NOBITS { 0 } else { usize::try_from(size).ok()? };
        if kind != SHT_NOBITS {
            bytes.get(offset..)?.get(..file_size)?;
        }
        let name = names.get(u32_at(header, 0)? as usize..)?;
        let name = name.iter().copied().take(32).take_while(|byte| *byte != 0).collect();
        let section = ElfSection { name, kind, flags, address, offset, size, file_size };
        found.image = (found.image.0.min(address), found.image.1.max(end));
        if section.is_code() {
            found.code = (found.code.0.min(address), found.code.1.max(end));
        }
        found.list.push(section);
    }
    // Sections that overlap would be walked many times.
    let sum = found.list.iter().try_fold(0usize, |sum, section| sum.checked_add(section.file_size))?;
    (sum <= bytes.len()).then_some(found)
}
