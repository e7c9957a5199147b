//! The object store: files named by their fs-verity digest.
//!
//! An [`ObjectDir`] is a directory of `xx/yyyy…`, an algorithm and a policy; `docs/format/object-store.md` specifies it. A
//! [`Batch`] puts objects in: it is a [`ContentSink`](libcomposefs_content::ContentSink), so a scan can fill it. [`publish`]
//! replaces a single file, the image for one, with the same care.
//!
//! Reading is by [`Basedirs`]: an [`Object`] that an image names, wherever its path would lead, and its content checked
//! against its digest before it is handed on. [`extract`] makes files of a whole tree.
#![forbid(unsafe_code)]

mod basedirs;
mod batch;
mod check;
mod clones;
mod commit;
mod content;
mod error;
pub mod extract;
mod fan;
mod image_bytes;
mod list;
mod needed;
mod object;
mod object_dir;
mod object_error;
mod policy;
pub mod publish;
mod seal;
mod settled;

pub use basedirs::Basedirs;
pub use batch::{Batch, GcGuard, Outcome, Summary};
pub use error::{Error, cause};
pub use image_bytes::ImageBytes;
pub use needed::{Needed, Verified, verify_needed};
pub use object::{Object, Vouching};
pub use object_dir::ObjectDir;
pub use object_error::ObjectError;
pub use policy::{Policy, VerifyExisting, Verity};
pub use seal::digest_of;
