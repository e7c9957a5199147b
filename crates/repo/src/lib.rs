//! Repositories: images with their objects and refs, shared by processes and users.
//!
//! `docs/format/repository.md` specifies the layout, the order in which things are published, how concurrent processes
//! and gc coordinate, and what a crash can leave.

#![forbid(unsafe_code)]

mod broken_ref;
pub mod bundle;
mod cache;
pub mod cold;
mod create;
mod digest_set;
mod dir;
mod disk_usage;
mod error;
pub mod fsck;
mod gc;
mod image_link;
mod images;
mod import;
mod init;
mod keepers;
mod layout;
mod lease;
mod link_target;
mod lock;
mod lock_holders;
mod marks;
mod meta;
mod name_sizes;
mod named_parts;
mod oci_stream_kind;
mod own_name;
pub mod partial;
mod reader;
mod ref_name;
mod refs;
mod remotes;
mod repository;
mod repository_streams;
mod signature_file;
mod signatures;
pub mod statfs;
mod stream;
mod stream_file;
mod stream_graph;
mod stream_link;
mod stream_name;
mod streams;
mod sync;
mod tag_usage;
mod transaction;
mod wait;
mod walk;
mod windows;

pub use broken_ref::BrokenRef;
pub use disk_usage::{RefUsage, Usage};
pub use error::RepositoryError;
use error::io_error;
pub use gc::{Collector, GcOptions, GcReport, MarkedRepository};
pub use images::{ImageEntry, Images};
pub use import::{ImportOptions, Incoming, ObjectSource, WasImage};
pub use init::Settings;
pub use keepers::{Keeper, Reasons};
pub use layout::{image_link, ref_link};
pub use lease::Lease;
pub use link_target::Leads;
pub use lock_holders::{LockHolder, Opener};
pub use meta::{Format, Meta, MetaError};
pub use name_sizes::NameSizes;
pub use oci_stream_kind::OciStreamKind;
pub use reader::{READER_WAITS, Reader};
pub use ref_name::{ImageName, InvalidRefName, RefName};
pub use refs::Refs;
pub use remotes::{InvalidRemoteName, RemoteEntry, RemoteName, RemoteNameError};
pub use repository::Repository;
use repository::demands_verity;
pub use signature_file::{IMAGE_SIGNATURES_MAX, SIGNATURE_FILE_MAX, SignatureFileProblem};
pub use signatures::{SignatureReport, StoredSignature};
pub use stream::{StreamContent, StreamTables, stream_tables};
pub use stream_graph::{StreamKeeper, StreamSummary};
pub use stream_name::{InvalidStreamName, StreamName, StreamTag};
pub use sync::SyncStep;
pub use tag_usage::TagUsage;
pub use transaction::{Committed, Created, LinkedImages, PublishedImage, StreamCommit, SyncedObjects, Transaction};
pub use wait::Waiting;
