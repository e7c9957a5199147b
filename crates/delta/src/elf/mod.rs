//! ELF files for x86-64: their sections, and the addresses in them (`docs/format/frame.md`, section 5).

pub(crate) mod address_map;
pub(crate) mod matching;
pub(crate) mod parts;
pub(crate) mod references;
pub(crate) mod sections;
