//! The blocks that an archive consists of.

/// The size of a block of an archive, in bytes.
pub const BLOCK: usize = 512;
