//! The beginning of a session: both sides say what they can.

use super::number::{RequestFields, put16, put32};

/// The version of the protocol that this crate speaks: 7.45, or less if the kernel speaks less.
const MAJOR: u32 = 7;
const MINOR: u32 = 45;
/// The lowest version: older kernels take a shorter reply to INIT. Linux 3.15 has it.
const OLDEST_MINOR: u32 = 23;
/// The largest number of pages of one request, which the kernel accepts at most: 1 MiB.
const MAX_PAGES: u16 = 256;

/// The kernel's side (`struct fuse_init_in`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InitRequest {
    /// Version of the protocol, before the dot.
    pub major: u32,
    /// Version of the protocol, after the dot.
    pub minor: u32,
    /// The largest read-ahead in bytes.
    pub max_readahead: u32,
    /// What the kernel can do.
    pub capabilities: Capabilities,
}

impl InitRequest {
    pub(super) fn parse(mut fields: RequestFields<'_>) -> Option<Self> {
        let (major, minor, max_readahead, flags) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        // Later kernels have more flags, if this one of the first is set.
        let more = if flags & INIT_EXT == 0 { 0 } else { fields.u32()? };
        let capabilities = Capabilities(u64::from(flags) | u64::from(more) << 32);
        Some(Self { major, minor, max_readahead, capabilities })
    }
}

const INIT_EXT: u32 = 1 << 30;

/// Capabilities of a session (`FUSE_ASYNC_READ` and its like).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Several reads of one file at a time.
    pub const ASYNC_READ: Self = Self(1);
    /// Directories are read with the attributes of their entries.
    pub const READDIR_PLUS: Self = Self(1 << 13);
    /// The kernel chooses whether it wants the attributes.
    pub const READDIR_PLUS_AUTO: Self = Self(1 << 14);
    /// OPEN may be refused for good.
    pub const NO_OPEN: Self = Self(1 << 17);
    /// Several lookups and reads of one directory at a time.
    pub const PARALLEL_DIROPS: Self = Self(1 << 18);
    /// The kernel enforces POSIX ACLs, which it reads as attributes.
    pub const POSIX_ACL: Self = Self(1 << 20);
    /// Requests of more than 32 pages.
    pub const MAX_PAGES: Self = Self(1 << 22);
    /// Targets of symlinks are cached.
    pub const CACHE_SYMLINKS: Self = Self(1 << 23);
    /// OPENDIR may be refused for good.
    pub const NO_OPENDIR: Self = Self(1 << 24);
    /// The kernel can send requests again that another process has read.
    pub const RESEND: Self = Self(1 << 39);
    /// There are more than 32 flags.
    pub const INIT_EXT: Self = Self(1 << 30);

    /// What a read-only file system that never changes takes.
    pub const READ_ONLY: Self = Self(
        Self::ASYNC_READ.0
            | Self::READDIR_PLUS.0
            | Self::READDIR_PLUS_AUTO.0
            | Self::NO_OPEN.0
            | Self::PARALLEL_DIROPS.0
            | Self::MAX_PAGES.0
            | Self::CACHE_SYMLINKS.0
            | Self::NO_OPENDIR.0
            | Self::INIT_EXT.0,
    );

    /// Returns true if all of `other` are among these.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns these and `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns what both have.
    #[must_use]
    pub fn shared_with(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// The server's side (`struct fuse_init_out`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InitReply {
    /// Version of the protocol, after the dot.
    pub minor: u32,
    /// The largest read-ahead in bytes.
    pub max_readahead: u32,
    /// What the session uses.
    pub capabilities: Capabilities,
}

impl InitReply {
    /// Chooses what the session uses, of what the kernel can do and the server wants; `None` if the kernel speaks a
    /// version that is too old.
    #[must_use]
    pub fn new(kernel: &InitRequest, wanted: Capabilities) -> Option<Self> {
        if kernel.major != MAJOR || kernel.minor < OLDEST_MINOR {
            return None;
        }
        let capabilities = kernel.capabilities.shared_with(wanted);
        let max_readahead = kernel.max_readahead.max(u32::from(MAX_PAGES) << 12);
        Some(Self { minor: kernel.minor.min(MINOR), max_readahead, capabilities })
    }

    /// Appends the 64 bytes of the reply.
    pub fn put(&self, out: &mut Vec<u8>) {
        let flags = self.capabilities.0;
        for word in [MAJOR, self.minor, self.max_readahead, flags as u32] {
            put32(out, word);
        }
        // Requests in the background (read-ahead) at most, and the number from which on the disk counts as congested.
        put16(out, 64);
        put16(out, 48);
        // The largest write, which a read-only file system never gets; the granularity of times in nanoseconds.
        put32(out, 4096);
        put32(out, 1);
        put16(out, MAX_PAGES);
        put16(out, 0);
        put32(out, (flags >> 32) as u32);
        out.extend_from_slice(&[0; 28]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_uses_what_both_can_do() {
        let kernel =
            InitRequest { major: 7, minor: 31, max_readahead: 1 << 17, capabilities: Capabilities(1 << 13 | 2) };
        let reply = InitReply::new(&kernel, Capabilities::READ_ONLY).unwrap();
        assert_eq!((reply.minor, reply.capabilities), (31, Capabilities::READDIR_PLUS));
        let newer = InitRequest { minor: 99, capabilities: Capabilities(u64::MAX), ..kernel };
        let reply = InitReply::new(&newer, Capabilities::READ_ONLY).unwrap();
        assert_eq!((reply.minor, reply.capabilities), (MINOR, Capabilities::READ_ONLY));
        let mut bytes = Vec::new();
        reply.put(&mut bytes);
        assert_eq!(bytes.len(), 64);
        for old in [InitRequest { minor: 22, ..kernel }, InitRequest { major: 6, ..kernel }] {
            assert_eq!(InitReply::new(&old, Capabilities::READ_ONLY), None);
        }
    }
}
