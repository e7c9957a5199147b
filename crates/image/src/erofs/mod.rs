//! The image file: an EROFS file system with a composefs header before it (`docs/format/image.md`).
//!
//! A tree becomes an image in three steps: `overlay` decides which attributes the inodes get, `place` gives every inode
//! its position, and [`write`](Image::write) emits the bytes in file order. The differences between format versions are
//! data, in [`profile`]. [`read`] is the reverse; [`check`] reports all defects of an image.

pub mod check;
mod constants;
mod dirent;
mod error;
pub mod format_version;
pub mod header;
mod image;
mod inode;
mod layout;
mod node;
mod overlay;
pub mod read;
mod record;
mod shared;
mod superblock;
mod xattr;

pub use error::WriteError;
pub use format_version::Versions;
pub use image::{Image, LostOpaque};
pub use record::{InodeRecord, Layout, RecordForm};
pub use superblock::Superblock;

pub(crate) use node::{stub_name, stubs_of};
