//! Images in directories, on servers and in registries: the layout of remotes, and the operations on them.
//!
//! A [`RemoteStore`] reads and writes files by [`FileName`]: a directory here, servers in other crates. All stores have
//! one layout, which `docs/format/remote.md` specifies: a [`RefDocument`] names the files of an image, the index of the
//! image says where in the packs its objects are. Nothing in a remote is trusted.
//!
//! A [`push`] learns from the indexes of the ref and of similar refs which frames the remote has, makes frames and
//! packs of the other objects, which are sent meanwhile, then writes index and metadata image, looks for all files once
//! more, and moves the ref by compare-and-swap. If a gc of the remote ([`collect`]) has announced one of the files, the
//! push waits, and sends again what is gone. The same objects give the same packs: a push that is cut continues.
//!
//! A [`pull`] begins with a [`plan`]: the index is compared with the repository, each [`PullWay`] is a selection of
//! frames, and a selection becomes ranges of packs, on which its cost is counted. Threads fetch the ranges; one that is
//! cut continues where it ended. Each object is compared with its digest and goes into a batch. A transaction publishes
//! the image: it is written again and compared, all objects are checked, the name is last.
//!
//! [`LazyObjects`] fetch the objects of an image when they are needed, frame by frame, for mounts that do not wait for
//! all of them.
#![forbid(unsafe_code)]

mod collect;
mod delivery_error;
mod directory;
mod error;
mod file_name;
mod index;
mod lazy;
mod pack_writer;
mod pull;
mod push;
mod ref_document;
mod remote;
mod retry;
mod sha256;
mod signature_records;
mod store;
mod trace;

pub use collect::{CollectOptions, CollectReport, collect};
pub use delivery_error::DeliveryError;
pub use directory::DirectoryStore;
pub use error::{Persistence, RemoteError};
pub use file_name::{FileKind, FileName};
pub use index::{ImageIndex, IndexError, IndexFrame};
pub use lazy::{LazyError, LazyObjects, LazyOptions, LazyStatus};
pub use pack_writer::MakeFile;
pub use pull::{
    DeliveryPlan, DeliveryPullOptions, PullWay, Pulled, WayCost, plan, plan_document, pull, pull_digest, pull_metadata,
};
pub use push::{DeliveryPushOptions, Pushed, push};
pub use ref_document::{
    DocumentError, ExtraRecord, FileEntry, REF_DOCUMENT_MAX, REMOTE_VERSION, RefDocument, RefImage, check_version,
    version_document,
};
pub use remote::{Remote, RemoteRef};
pub use retry::{Patience, Retries};
pub use sha256::{HashingReader, Sha256Digest};
pub use store::{
    Abilities, CompareAndSwap, CreateOutcome, ExpectedFile, FileVersion, ListedFile, NewContent, RangeAnswer,
    RangeSink, ReadFile, RefReplacement, RemoteStore,
};
pub use trace::{TRACE_FILE_MAX, Trace, TraceError};
