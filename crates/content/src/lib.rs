//! Contents of files: computing their digests, passing them to a sink, and the threads that read them.
//!
//! A [`ContentSink`] receives the contents that a scan or an import reads; [`DigestOnly`] hashes them and stores
//! nothing. [`digest_file`] hashes one file on all CPUs. [`workers`] runs jobs on several threads, and
//! [`thread_count`] decides how many threads an operation uses.
#![forbid(unsafe_code)]

mod file_digest;
pub mod mutex;
mod progress;
mod sink;
mod threads;
pub mod workers;

pub use file_digest::digest_file;
pub use progress::{NoProgress, Progress};
pub use sink::{ContentSink, DigestOnly, SinkError, SourceFile, digest_pieces};
pub use threads::thread_count;
