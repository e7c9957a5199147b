//! The FUSE protocol (`include/uapi/linux/fuse.h`) as far as a read-only file system needs it: requests and replies as
//! plain data, without IO.
//!
//! All integers have the byte order of the machine. [`Request::parse`] takes any bytes; the encoders append to a
//! buffer.

mod attributes;
mod directory;
mod init;
mod number;
mod opcode;
mod request;

pub use attributes::{Attributes, Entry, Statistics, Validity};
pub use directory::{DirectoryBuffer, DirectoryEntry};
pub use init::{Capabilities, InitReply, InitRequest};
pub use opcode::Opcode;
pub use request::{BadRequest, Operation, Request};

/// The node id of the root directory.
pub const ROOT_ID: u64 = 1;

/// The length of the header of a reply (`struct fuse_out_header`).
pub const REPLY_HEADER_LEN: usize = 16;

/// Returns the header of a reply whose body has `body_len` bytes. `error` is 0 or an error number.
#[must_use]
pub fn reply_header(unique: u64, error: i32, body_len: usize) -> [u8; REPLY_HEADER_LEN] {
    let len = u32::try_from(REPLY_HEADER_LEN + body_len).unwrap_or(u32::MAX);
    let mut header = [0; REPLY_HEADER_LEN];
    let (words, rest) = header.split_at_mut(8);
    let (length, errno) = words.split_at_mut(4);
    length.copy_from_slice(&number::bytes32(len));
    errno.copy_from_slice(&number::bytes32(error.wrapping_neg().cast_unsigned()));
    rest.copy_from_slice(&number::bytes64(unique));
    header
}

/// Returns the message by which a server asks the kernel to send all requests again that were read and have no answer
/// (`FUSE_NOTIFY_RESEND`, Linux 6.9).
#[must_use]
pub fn resend_message() -> [u8; REPLY_HEADER_LEN] {
    const FUSE_NOTIFY_RESEND: i32 = 7;
    // The number of a message is where replies have an error, which is negated.
    reply_header(0, -FUSE_NOTIFY_RESEND, 0)
}

/// Appends the reply to a request for the length of an attribute or a list of names (`struct fuse_getxattr_out`).
pub fn put_length(len: u32, out: &mut Vec<u8>) {
    number::put32(out, len);
    number::put32(out, 0);
}

/// Appends the reply to OPEN and OPENDIR (`struct fuse_open_out`).
pub fn put_opened(flags: u32, out: &mut Vec<u8>) {
    number::put64(out, 0);
    number::put32(out, flags);
    number::put32(out, 0);
}

/// The pages that are in the cache stay valid when the file is opened (`FOPEN_KEEP_CACHE`).
pub const OPEN_KEEP_CACHE: u32 = 1 << 1;
/// FLUSH is not needed (`FOPEN_NOFLUSH`).
pub const OPEN_NO_FLUSH: u32 = 1 << 5;
