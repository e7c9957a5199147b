//! Reads images of any writer.
//!
//! [`ImageReader`] reads the parts of an image on demand: an inode by its number, its entries, its attributes, its
//! content. [`View`] reads the same by paths, as a mount shows it. [`load`] makes a [`Tree`](crate::tree::Tree) of the
//! whole image, without what the writer added for overlayfs.
//!
//! No image is trusted. Every offset, length and count is checked against the bytes of the file before it is used;
//! nothing recurses; and the memory used is at most a small multiple of the file's length, since each byte of the file
//! may belong to one part of the image only.
//!
//! ```
//! use libcomposefs_image::erofs::read::{ImageReader, ReadError, load};
//!
//! /// The object of a file in the root, without reading anything else; then of the whole tree, the number of names.
//! fn look(image: &[u8], name: &[u8]) -> Result<(Option<Vec<u8>>, usize), ReadError> {
//!     let reader = ImageReader::new(image)?;
//!     let payload = match reader.lookup(&reader.root()?, name)? {
//!         Some(entry) => reader.backing(&reader.inode(entry.nid)?)?.and_then(|backing| backing.payload),
//!         None => None,
//!     };
//!     Ok((payload.map(<[u8]>::to_vec), load(&reader, &[])?.tree.entry_count()))
//! }
//! # assert!(look(b"no image", b"name").is_err());
//! ```

mod attributes;
mod byte_map;
mod content;
mod dirents;
mod dump;
mod error;
mod head;
mod link_places;
mod load;
mod overlay;
mod reader;
mod resolve;
mod view;
mod walk;
mod whiteouts;
mod xattrs;

pub use content::{Flat, RawContent};
pub use dirents::{RawEntries, RawEntry};
pub use error::{Defect, ReadError};
pub use head::{HEAD_LEN, Head, said_len};
pub use link_places::Order;
pub use load::{LoadedImage, load};
pub use overlay::Backing;
pub use reader::{ImageReader, RawInode};
pub use resolve::{LastLink, ResolveError, ResolvedPath};
pub use view::{Child, Children, OwnXattr, View, ViewNode};
pub use xattrs::{RawXattr, RawXattrs};

pub(super) use head::{LAST_VERSION, superblock_defects};
pub(super) use overlay::{BackingXattrs, Meaning, meaning};
pub(super) use walk::{check_order, target};
