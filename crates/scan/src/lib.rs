//! Scanning a directory tree in parallel into the tree model.
//!
//! [`scan()`] reads the metadata and extended attributes of each file. The contents of regular files are passed to a
//! [`ContentSink`](libcomposefs_content::ContentSink), which may only hash them
//! ([`DigestOnly`](libcomposefs_content::DigestOnly)) or also store them, so that one read serves both.
//!
//! Every step starts from an open directory and follows no symlink. A process that renames files during a scan can
//! make it fail, but cannot make it read outside of the tree. Only entries that were a regular file or a directory a
//! moment before are opened.
//!
//! The threads share one stack of jobs; a job is a directory to list or some names of one. As a stack it works depth
//! first, so few jobs are pending at a time. A thread that finds others idle hands over half of the names it has
//! left. Found inodes are added to the tree in batches, in any order: the finished tree is sorted. Small contents are
//! hashed in batches too.
//!
//! # Examples
//!
//! ```
//! use std::fs;
//!
//! use libcomposefs_content::{DigestOnly, NoProgress};
//! use libcomposefs_image::tree::InodeId;
//! use libcomposefs_scan::{Options, scan};
//!
//! let dir = tempfile::tempdir()?;
//! fs::create_dir(dir.path().join("etc"))?;
//! fs::write(dir.path().join("etc/motd"), "hello\n".repeat(100))?;
//!
//! let options = Options::default();
//! let tree = scan(dir.path(), &options, &DigestOnly(options.algorithm), &NoProgress)?;
//! let etc = tree.child(InodeId::ROOT, b"etc").expect("the directory is in the tree");
//! let motd = tree.child(etc.inode, b"motd").expect("the file is in the tree");
//! assert_eq!(tree.inode(motd.inode).size(), 600);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod attributes;
mod collect_all;
mod directory;
mod entry;
mod error;
mod glob;
mod hardlinks;
mod options;
mod patterns;
mod pending;
mod queue;
mod read_file;
mod scan;
mod small_files;
mod stat;
mod worker;

pub use collect_all::CollectAll;
pub use error::{Error, Step};
pub use glob::compile_glob;
pub use options::{Mtime, Options, XattrChoice};
pub use patterns::{InvalidPattern, Patterns};
pub use scan::scan;
