//! Boot entries as text and names: what systemd-boot reads from an EFI system partition, and the order in which it
//! starts the entries. Nothing here reads or writes files.
//!
//! The rules are those of the Boot Loader Specification and the Boot Assessment of systemd (UAPI group).

mod choice;
mod file_name;
mod order;
mod os_release;
mod text;
mod version;
mod words;

pub use choice::{EntryUse, GENERATION_MAX, next_generation, removable, rollback_target};
pub use file_name::{BootCounter, EntryFileName, OwnEntryName};
pub use order::EntryRank;
pub use os_release::SystemNames;
pub use text::{BootEntryText, ENTRY_MAX, EntryTextError, one_line};
pub use version::compare_versions;
pub use words::{NamedDigest, named_digests, options_with_image};
