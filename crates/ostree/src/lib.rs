//! Reading ostree repositories without libostree: commits become trees, and images byte for byte like those of
//! `ostree checkout --composefs`.
//!
//! ```text
//! Repo --resolve--> Id --commit--> Commit --> CommitPlan --gather: header and digest of each content--> Tree --> Image
//! ```
//!
//! Every object is compared with the SHA-256 in its name before any part of it is used, so the repository need not be
//! trusted. The format of the objects is in [`objects`], without IO; `docs/format/ostree.md` has the rules.

mod config;
mod content;
mod error;
mod gather;
mod id;
mod limits;
mod normal;
pub mod objects;
mod plan;
mod repo;
mod signature;
mod tree_size;

pub use content::ContentObject;
pub use error::Error;
pub use gather::{ContentUse, Gathered, gather};
pub use id::Id;
pub use plan::{CommitPlan, Payloads};
pub use repo::{Commit, Repo, SignedCommit};
