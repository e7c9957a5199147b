//! The object store: files named by their fs-verity digest.
//!
//! An [`ObjectDir`] is a directory of `xx/yyyy…`, an algorithm and a policy; `docs/format/object-store.md` specifies
//! it. A [`Batch`] adds objects: it is a [`ContentSink`](libcomposefs_content::ContentSink), so a scan can fill it.
//! [`publish`] replaces a single file, for example an image, with the same care.
//!
//! [`Basedirs`] is for reading: it opens an [`Object`] that an image names, confined to the object directories, and
//! the content is checked against its digest before it is passed on. [`extract`] writes a whole tree to the file
//! system.
#![forbid(unsafe_code)]

mod basedirs;
mod batch;
mod cloned;
mod commit;
mod commit_aside;
mod commit_queue;
mod error;
mod existing;
pub mod extract;
mod fanout;
mod image_bytes;
mod ingest;
mod list;
mod object;
mod object_dir;
mod policy;
pub mod publish;
mod reflink;
mod scan_sink;
mod stored;
mod unchanged;
mod verify;
mod verity;

pub use basedirs::Basedirs;
pub use batch::{Batch, GcGuard, PutOutcome, Summary};
pub use cloned::ClonedFile;
pub use error::{Error, cause};
pub use image_bytes::ImageBytes;
pub use libcomposefs_sys::sparse::SparseWriter;
pub use object::error::ObjectError;
pub use object::{Object, VerifiedBy};
pub use object_dir::ObjectDir;
pub use policy::{ObjectVerity, StorePolicy, VerifyExisting};
pub use stored::StoredObjects;
pub use verify::{ObjectRef, VerifyReport, verify_objects};
pub use verity::digest_of;
