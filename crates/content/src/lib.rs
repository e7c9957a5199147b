//! Contents of files: their digests, where they go, and the threads that read them.
//!
//! A [`ContentSink`] takes the contents that a scan or an import reads; [`DigestOnly`] hashes them and keeps nothing.
//! [`digest_file`] hashes one file on all CPUs. [`workers`] runs jobs on several threads, and [`thread_count`] is the one
//! place that decides how many.
#![forbid(unsafe_code)]

mod file_digest;
mod progress;
mod sink;
mod threads;
pub mod workers;

pub use file_digest::digest_file;
pub use progress::{NoProgress, Progress};
pub use sink::{ContentSink, DigestOnly, SinkError, SourceFile, digest_pieces};
pub use threads::thread_count;
