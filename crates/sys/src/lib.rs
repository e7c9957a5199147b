//! What composefs asks of the kernel: fs-verity, mounts, loop devices, temporary files.
//!
//! Each module wraps one interface of the kernel in safe calls and knows nothing of composefs: an algorithm is the
//! kernel's number, a mount is a descriptor. Where an answer of the kernel is no failure but a fact ("this file
//! system has no fs-verity"), it is a value and not an error number.

pub mod background;
pub mod child;
pub mod command_namespaces;
pub mod copy;
pub mod fiemap;
pub mod file_lease;
pub mod fs_magic;
pub mod fuse;
pub mod head_first;
mod holes;
pub mod in_root;
pub mod input;
pub mod kernel_log;
pub mod limits;
pub mod locked_directory;
pub mod loopdev;
pub mod mount;
pub mod namespace;
pub mod proc_fd;
pub mod readahead;
pub mod resolve_beneath;
pub mod service_manager;
pub mod signal_relay;
pub mod sparse;
pub mod stdio;
pub mod tempfile;
pub mod user_namespace;
pub mod verity;
pub mod writeback;
pub mod xattr;
mod xattr_at;
