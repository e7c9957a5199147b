//! Streams of OCI images in a repository: what gc keeps and removes, and what the other commands say about them.
//!
//! The repository was written by cfsctl 0.9.4 (`data/cfsctl/README.md` of the testkit).

mod df;
mod fsck;
mod gc;
mod place;
mod why;
