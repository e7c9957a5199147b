//! The image file: an EROFS file system with a composefs header before it (`docs/format/image.md`).
//!
//! A tree becomes an image in three steps: `overlay` decides which attributes the inodes get, `place` gives every inode
//! its position, and [`write`](Image::write) emits the bytes in file order. The differences between format versions are
//! data, in [`profile`]. [`read`] is the reverse; [`check`] reports all defects of an image.

mod attr;
pub mod check;
mod dirent;
mod error;
pub mod header;
mod image;
mod inode;
mod layout;
mod overlay;
mod place;
pub mod profile;
pub mod read;
mod record;
mod shared;
mod slot;
mod superblock;

pub use error::WriteError;
pub use image::{Image, LostOpaque};
pub use profile::Versions;
pub use record::{Form, Layout, Record};
pub use superblock::Superblock;

pub(crate) use slot::{stub_name, stubs_of};
