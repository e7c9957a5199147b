//! ostree repositories, read without libostree: commits become trees, and images byte for byte as `ostree checkout --composefs`
//! makes them.
//!
//! ```text
//! Repo --resolve--> Id --commit--> Commit --> CommitPlan --gather: header and digest of each content--> Tree --> Image
//! ```
//!
//! Every object is compared with the SHA-256 it is named by before anything of it is used, so a repository can be anybody's.
//! What the objects mean is in [`objects`], without IO; `docs/format/ostree.md` has the rules.

mod config;
mod content;
mod error;
mod gather;
mod id;
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
pub use repo::{Commit, Repo};
