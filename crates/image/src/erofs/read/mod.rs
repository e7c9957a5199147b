//! Reading images, whoever made them.
//!
//! [`Reader`] is the image itself, lazily: an inode by its number, its entries, its attributes, its content. [`load`]
//! makes a [`Tree`](crate::tree::Tree) of all of it, with what the writer added for overlayfs taken away again.
//!
//! An image is hostile until it is proved otherwise. Every offset, length and count is compared with what there is
//! before it is used; nothing recurses; and no more memory is taken than a small multiple of the file's length, since
//! each byte of the file may belong to one thing only.

mod attributes;
mod claims;
mod content;
mod dirents;
mod dump;
mod error;
mod load;
mod overlay;
mod places;
mod reader;
mod walk;
mod whiteouts;
mod xattrs;

pub use content::{Flat, RawContent};
pub use dirents::{RawEntries, RawEntry};
pub use error::{Defect, ReadError};
pub use load::{Loaded, load};
pub use overlay::Backing;
pub use places::Order;
pub use reader::{RawInode, Reader};
pub use xattrs::{RawXattr, RawXattrs};
