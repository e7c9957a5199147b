//! Cold images: images whose objects are packed as differences from those of another image (`docs/format/cold.md`).
//!
//! [`Repository::freeze`](crate::Repository::freeze) packs an image, [`Repository::thaw`](crate::Repository::thaw)
//! unpacks it, and [`Repository::collect_cold`](crate::Repository::collect_cold) removes what is no longer needed.
//! Other programs meet neither the names nor the links of cold images.

mod chain;
mod check;
mod collect;
mod directory;
mod entry;
mod error;
mod freeze;
mod list;
mod old_images;
mod pack_frames;
mod packed;
mod thaw;

pub use check::ColdDamage;
pub use collect::ColdReport;
pub(crate) use collect::is_young;
pub use directory::is_base_name;
pub use entry::ColdEntry;
pub use error::ColdError;
pub use freeze::FreezeOptions;
pub use list::{ColdImage, ColdImages};
pub use old_images::OldImage;
pub use packed::PackedIn;
pub use thaw::Thawed;
