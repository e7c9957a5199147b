//! The composefs header: the first 32 bytes of an image.

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 32;
/// `9a 62 78 d0`, little-endian.
pub const MAGIC: u32 = 0xd078_629a;
/// The only header version there is.
pub const HEADER_VERSION: u32 = 1;
/// Flag bit 0: some inode has a POSIX ACL, so the mount must not use `noacl`.
pub const FLAG_HAS_ACL: u32 = 1;

/// The fields of the composefs header that vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Flag bits, [`FLAG_HAS_ACL`] the only one in use.
    pub flags: u32,
    /// The composefs format version (0 or 1; 2 in a legacy layout).
    pub format_version: u32,
}

impl Header {
    /// Returns `true` if an inode of the image has a POSIX ACL.
    #[must_use]
    pub fn has_acl(&self) -> bool {
        self.flags & FLAG_HAS_ACL != 0
    }

    /// Parses the first bytes of an image.
    pub fn parse(image: &[u8]) -> Result<Self, HeaderError> {
        let bytes = image.first_chunk::<HEADER_LEN>().ok_or(HeaderError::TooShort { len: image.len() })?;
        let word = |i: usize| u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]);
        if word(0) != MAGIC {
            return Err(HeaderError::Magic { found: word(0) });
        }
        if word(1) != HEADER_VERSION {
            return Err(HeaderError::Version { found: word(1) });
        }
        Ok(Self { flags: word(2), format_version: word(3) })
    }

    /// Returns the header's bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        for (field, value) in
            bytes.as_chunks_mut::<4>().0.iter_mut().zip([MAGIC, HEADER_VERSION, self.flags, self.format_version])
        {
            *field = value.to_le_bytes();
        }
        bytes
    }
}

/// Reasons why the first bytes of a file are not a composefs header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Fewer than [`HEADER_LEN`] bytes.
    #[error("{len} bytes are too few for a composefs image, whose header alone has {HEADER_LEN}")]
    TooShort {
        /// The number of bytes.
        len: usize,
    },
    /// Another magic number: another kind of file.
    #[error("not a composefs image: the magic number at offset 0 is {found:#010x}, expected {MAGIC:#010x}")]
    Magic {
        /// The magic number in the file.
        found: u32,
    },
    /// An unknown header version.
    #[error("composefs header version {found} at offset 4 is unknown, expected {HEADER_VERSION}")]
    Version {
        /// The version in the file.
        found: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_both_ways() {
        let header = Header { flags: FLAG_HAS_ACL, format_version: 1 };
        let bytes = header.emit();
        assert_eq!(bytes[..4], [0x9a, 0x62, 0x78, 0xd0]);
        assert_eq!(Header::parse(&bytes), Ok(header));
        assert_eq!(Header::parse(&bytes[..31]), Err(HeaderError::TooShort { len: 31 }));
        assert_eq!(Header::parse(&[0; 32]), Err(HeaderError::Magic { found: 0 }));
    }
}
