//! Partial images: images that are mounted while their objects arrive (`docs/format/repository.md`, section 7).
//!
//! [`Repository::add_partial`](crate::Repository::add_partial) stores an image without its objects. Publishing the same
//! image later makes it complete, whatever command does that, and
//! [`Repository::collect_partial`](crate::Repository::collect_partial) removes what has no name. Other programs meet
//! neither the names nor the entries.

mod add;
mod check;
mod collect;
mod directory;
mod entry;
mod incoming;
mod list;
mod settle;

pub use add::AddedPartial;
pub use check::{PartialCheck, PartialDamage};
pub use collect::PartialReport;
pub use entry::PartialEntry;
pub use incoming::ArrivedObjects;
pub use list::{PartialImage, PartialImages, PartialProgress};
pub(crate) use settle::settle;
