//! Bootable disks of composefs images: a partition table, an EFI system partition, and a root file system (ext4) whose
//! objects have fs-verity. They are made by an ordinary program: without privileges, without mounts, and on hosts whose
//! file systems have no fs-verity.
//!
//! `docs/boot.md` describes the disk. The same image and the same seed make the same bytes.

#![forbid(unsafe_code)]

mod architecture;
mod efi_program;
pub mod entries;
mod error;
mod esp;
mod ext4;
mod fat;
mod partition_table;
mod plan;
mod root;
mod seed;
mod source;
mod state;
mod target;

pub use architecture::Architecture;
pub use efi_program::{EfiHeaders, EfiProgram};
pub use error::DiskError;
pub use partition_table::DiskPartition;
pub use plan::{DiskOptions, DiskPlan, DiskReport};
