//! Requests of the kernel.

use super::init::InitRequest;
use super::number::RequestFields;
use super::opcode::Opcode;

/// A request: what the kernel wants, for which node, and on whose behalf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request<'r> {
    /// Number of the request, which the reply repeats.
    pub unique: u64,
    /// The node that the request is about.
    pub node: u64,
    /// User of the process that caused the request, in the user namespace of the mount.
    pub user: u32,
    /// The operation with its parameters.
    pub operation: Operation<'r>,
}

/// An operation with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation<'r> {
    /// Look up a name in the node, a directory.
    Lookup {
        /// The name, without a zero byte.
        name: &'r [u8],
    },
    /// The kernel forgets one or several nodes. No reply.
    Forget,
    /// Return the attributes of the node.
    GetAttr,
    /// Return the target of the node, a symlink.
    ReadLink,
    /// Open the node, a file.
    Open {
        /// The flags of `open(2)`.
        flags: u32,
    },
    /// Return bytes of the node, a file.
    Read {
        /// Offset of the first byte.
        offset: u64,
        /// The largest number of bytes to return.
        size: u32,
    },
    /// Return the numbers of the file system.
    StatFs,
    /// A file or directory is closed, or the session ends: nothing to do, success.
    Done,
    /// Return an extended attribute.
    GetXattr {
        /// The name of the attribute.
        name: &'r [u8],
        /// Room for the value; 0 asks for its length.
        size: u32,
    },
    /// Return the names of the extended attributes.
    ListXattr {
        /// Room for the names; 0 asks for their length.
        size: u32,
    },
    /// Begin the session.
    Init(InitRequest),
    /// Open the node, a directory.
    OpenDir,
    /// Return names of the node, a directory.
    ReadDir {
        /// The position after the last name that was returned; 0 at the beginning.
        position: u64,
        /// Room for the names.
        size: u32,
        /// Set if each name is returned with the attributes of its inode.
        plus: bool,
    },
    /// Stop working on another request. No reply.
    Interrupt,
    /// End the session.
    Destroy,
    /// A device control call, of which none is supported.
    Ioctl,
    /// Change something, which is not possible.
    Change,
    /// A request that this crate does not know, or that the kernel need not send again.
    Unsupported,
}

/// A request that does not have the form of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a FUSE request of {len} bytes with operation {opcode} ends too early or contradicts itself")]
pub struct BadRequest {
    /// Number of the request, if the header is whole.
    pub unique: Option<u64>,
    /// Number of the operation, 0 if the header is not whole.
    pub opcode: u32,
    /// Length of the request in bytes.
    pub len: usize,
}

impl<'r> Request<'r> {
    /// Parses the bytes of one request.
    ///
    /// # Errors
    ///
    /// [`BadRequest`] if the bytes end before the parameters do, or are fewer than the header says.
    pub fn parse(bytes: &'r [u8]) -> Result<Self, BadRequest> {
        let len = bytes.len();
        let mut fields = RequestFields(bytes);
        let Some((said_len, opcode, unique, node, user)) = header(&mut fields) else {
            return Err(BadRequest { unique: None, opcode: 0, len });
        };
        let bad = BadRequest { unique: Some(unique), opcode, len };
        if said_len as usize != len {
            return Err(bad);
        }
        let operation = Operation::parse(Opcode::from_number(opcode), fields).ok_or(bad)?;
        Ok(Self { unique, node, user, operation })
    }
}

/// `struct fuse_in_header`: length, operation, number, node, user, group, process, lengths of extensions.
fn header(fields: &mut RequestFields<'_>) -> Option<(u32, u32, u64, u64, u32)> {
    let (len, opcode) = (fields.u32()?, fields.u32()?);
    let (unique, node) = (fields.u64()?, fields.u64()?);
    let user = fields.u32()?;
    // Group and process, and two numbers that only concern requests that change something.
    fields.u64()?;
    fields.u32()?;
    Some((len, opcode, unique, node, user))
}

impl<'r> Operation<'r> {
    fn parse(opcode: Opcode, mut fields: RequestFields<'r>) -> Option<Self> {
        Some(match opcode {
            Opcode::Lookup => Self::Lookup { name: fields.name()? },
            Opcode::Forget | Opcode::BatchForget => Self::Forget,
            Opcode::GetAttr => Self::GetAttr,
            Opcode::ReadLink => Self::ReadLink,
            Opcode::Open => Self::Open { flags: fields.u32()? },
            Opcode::Read => {
                let (offset, size) = range(&mut fields)?;
                Self::Read { offset, size }
            }
            Opcode::StatFs => Self::StatFs,
            Opcode::Release | Opcode::ReleaseDir => Self::Done,
            Opcode::GetXattr => {
                let (size, _) = (fields.u32()?, fields.u32()?);
                Self::GetXattr { name: fields.name()?, size }
            }
            Opcode::ListXattr => Self::ListXattr { size: fields.u32()? },
            Opcode::Init => Self::Init(InitRequest::parse(fields)?),
            Opcode::OpenDir => Self::OpenDir,
            Opcode::ReadDir | Opcode::ReadDirPlus => {
                let (position, size) = range(&mut fields)?;
                Self::ReadDir { position, size, plus: opcode == Opcode::ReadDirPlus }
            }
            Opcode::Interrupt => Self::Interrupt,
            Opcode::Destroy => Self::Destroy,
            Opcode::Ioctl => Self::Ioctl,
            Opcode::Change => Self::Change,
            // The kernel falls back to GETATTR, finds holes by itself, and does not ask again at each close.
            Opcode::Lseek | Opcode::Statx | Opcode::Flush | Opcode::Other => Self::Unsupported,
        })
    }

    /// Returns true if the kernel expects a reply.
    #[must_use]
    pub fn has_reply(&self) -> bool {
        !matches!(self, Self::Forget | Self::Interrupt)
    }
}

/// `struct fuse_read_in`, as far as it is used: handle, offset, size.
fn range(fields: &mut RequestFields<'_>) -> Option<(u64, u32)> {
    fields.u64()?;
    Some((fields.u64()?, fields.u32()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::number::{put32, put64};

    fn request(opcode: u32, node: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put32(&mut bytes, 40 + body.len() as u32);
        put32(&mut bytes, opcode);
        put64(&mut bytes, 77);
        put64(&mut bytes, node);
        for number in [1000, 100, 4242, 0] {
            put32(&mut bytes, number);
        }
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn requests_are_parsed() {
        let bytes = request(1, 5, b"name\0");
        let expected = Request { unique: 77, node: 5, user: 1000, operation: Operation::Lookup { name: b"name" } };
        assert_eq!(Request::parse(&bytes), Ok(expected));
        let mut body = Vec::new();
        put64(&mut body, 0);
        put64(&mut body, 8192);
        put32(&mut body, 4096);
        for (opcode, operation) in [
            (15, Operation::Read { offset: 8192, size: 4096 }),
            (28, Operation::ReadDir { position: 8192, size: 4096, plus: false }),
            (44, Operation::ReadDir { position: 8192, size: 4096, plus: true }),
            (2, Operation::Forget),
            (36, Operation::Interrupt),
            (16, Operation::Change),
            (39, Operation::Ioctl),
            (18, Operation::Done),
            (25, Operation::Unsupported),
            (4096, Operation::Unsupported),
        ] {
            let bytes = request(opcode, 1, &body);
            assert_eq!(Request::parse(&bytes).unwrap().operation, operation, "{opcode}");
        }
    }

    #[test]
    fn every_cut_is_refused_or_a_shorter_request() {
        for (opcode, body) in [(1, &b"name\0"[..]), (15, &[1; 40]), (22, b"\0\0\0\0\0\0\0\0user.x\0"), (26, &[7; 64])] {
            let whole = request(opcode, 1, body);
            assert!(Request::parse(&whole).is_ok(), "{opcode}");
            for len in 0..whole.len() {
                // The length in the header does not fit.
                let error = Request::parse(&whole[..len]).unwrap_err();
                assert_eq!(error.unique, (len >= 40).then_some(77), "{opcode} {len}");
            }
        }
        assert!(Request::parse(&request(1, 1, b"no end")).is_err());
        assert!(Request::parse(&request(15, 1, &[0; 19])).is_err());
    }
}
