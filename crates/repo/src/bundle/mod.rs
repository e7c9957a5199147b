//! Bundles: images and objects in one file, for transport (`docs/format/bundle.md`).

mod export;
mod format;
mod import;

pub use export::{Exported, Have};
pub use format::{FormatError, MAGIC, Record, RecordReader};
pub use import::ImportedBundle;
