//! Telling how far it is.

/// Is told how far an extraction is, by several threads. Does nothing by default.
pub trait Progress: Sync {
    /// How many entries and how many bytes of contents there will be.
    fn begin(&self, _entries: u64, _bytes: u64) {}

    /// An entry is there, or never will be.
    fn entry(&self) {}

    /// So many more bytes of contents were taken.
    fn bytes(&self, _count: u64) {}
}

/// Tells nobody.
#[derive(Clone, Copy, Debug)]
pub struct NoProgress;

impl Progress for NoProgress {}
