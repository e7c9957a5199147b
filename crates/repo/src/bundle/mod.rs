//! Bundles: images, OCI images and objects in one file, for transport (`docs/format/bundle.md`).

mod export;
mod format;
mod import;

pub use export::{Exported, Have, OciDocument};
pub use format::{FormatError, MAGIC, Record, RecordReader};
pub use import::{ImportedBundle, ReadBundle};
