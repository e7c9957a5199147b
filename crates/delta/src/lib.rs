//! Objects compressed as differences from other objects.
//!
//! The unit is the [frame](FrameInfo): bytes that give one object or a few small ones, by themselves or together with
//! other objects, the bases. [`choose`] finds the bases of new objects, [`plan_frames`] groups small objects,
//! [`encode_frames`] compresses the frames on several threads, and [`decode`] takes one apart again.
//!
//! The crate opens no file and knows no network: contents are read through [`ReadAt`] and given to closures. It
//! verifies no digest. The format is specified in `docs/format/frame.md`.
#![forbid(unsafe_code)]

mod btf;
mod choose;
mod decode;
mod elf;
mod encode;
mod error;
mod frame;
mod lz4;
mod module;
mod number;
mod path_pattern;
mod plan;
mod read_at;
mod rebase;
mod segment;
mod tokens;
mod zstd_coder;

pub use choose::{BaseChoice, NamedObject, choose, needed_objects};
pub use decode::decode;
pub use encode::{DeltaEncoder, Effort, EncodeOptions, SpoolFile, encode_frames};
pub use error::{DecodeError, FrameRule};
pub use frame::{Coder, FRAME_BASES_MAX, FRAME_OBJECTS_MAX, FrameInfo};
pub use plan::{FramePlan, GROUP_MAX, SMALL_MAX, plan_frames};
pub use read_at::ReadAt;
