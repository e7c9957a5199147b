//! Bundles: images, OCI images and objects in one file, for transport (`docs/format/bundle.md`).

mod bundle_input;
mod export;
mod export_frames;
mod format;
mod frame_contents;
mod frame_decoder;
mod frame_import;
mod frame_threads;
mod import;
mod import_frames;
mod record_reader;
mod signature_record;
mod typed_record;
mod typed_record_reader;
mod verified_objects;
mod verify_frames;

pub use export::{Exported, Have, OciDocument};
pub use export_frames::FrameOptions;
pub use format::{FormatError, MAGIC, Record};
pub use frame_decoder::{FrameDecoder, FrameError};
pub use import::{ImportedBundle, ReadBundle};
pub use record_reader::RecordReader;
pub use typed_record::TypedRecord;
pub use typed_record_reader::TypedRecordReader;
pub use verified_objects::VerifiedObjects;
