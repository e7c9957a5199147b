//! The image file: an EROFS file system with a composefs header before it (`docs/format/image.md`).
//!
//! A tree becomes an image in three steps: `overlay` decides which attributes the inodes get, `layout` gives every
//! inode its position, and [`write`](Image::write) emits the bytes in file order. The differences between format
//! versions are data, in [`format_version`]. [`read`] is the reverse; [`check`] reports all defects of an image.
//!
//! ```
//! use libcomposefs_image::erofs::{Image, Versions};
//! use libcomposefs_image::tree::{InodeId, NewInode, TreeBuilder};
//! use libcomposefs_image::{Algorithm, verity};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let root = NewInode { mode: 0o040755, ..NewInode::default() };
//! let mut builder = TreeBuilder::new(Algorithm::Sha256, &root)?;
//! // A file whose content is in the image, and one whose content is an object.
//! let small = NewInode { mode: 0o100644, size: 6, content: Some(b"hello\n"), ..NewInode::default() };
//! builder.add(InodeId::ROOT, b"motd", &small)?;
//! let content = vec![1; 100_000];
//! let digest = Some(verity::digest(Algorithm::Sha256, &content));
//! let large = NewInode { mode: 0o100644, size: 100_000, digest, is_object: true, ..NewInode::default() };
//! builder.add(InodeId::ROOT, b"data", &large)?;
//! let tree = builder.finish_with_counted_links();
//!
//! let image = Image::plan(&tree, Versions::default())?;
//! let mut bytes = Vec::new();
//! image.write(&mut bytes)?;
//! assert_eq!(bytes.len() as u64, image.len());
//! // The digest that a mount can demand.
//! assert_eq!(image.digest(Algorithm::Sha256), verity::digest(Algorithm::Sha256, &bytes));
//! # Ok(())
//! # }
//! ```

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
