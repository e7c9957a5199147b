//! The block of extended attributes of an inode.

use super::bytes::PutLe as _;
use super::checksum::crc32c;
use super::geometry::BLOCK;

const BLOCK_LEN: usize = BLOCK as usize;
const MAGIC: u32 = 0xea02_0000;
/// Length of the head of the block.
const HEAD: usize = 32;
/// Prefixes of names, with the numbers that stand for them. The names of ACLs have a number of their own.
const PREFIXES: [(&[u8], u8); 6] = [
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
    (b"system.", 7),
];
/// Numbers of the names of ACLs.
const ACLS: [u8; 2] = [2, 3];

/// An attribute: its full name and its value.
pub(crate) type XattrPair<'a> = (&'a [u8], &'a [u8]);

/// Returns the block with the checksum for its number; an error says why ext4 has no room for the attributes.
pub(super) fn encode(xattrs: &[XattrPair<'_>], block: u64, seed: u32) -> Result<Vec<u8>, String> {
    let mut entries = xattrs.iter().map(|&xattr| entry(xattr)).collect::<Result<Vec<_>, _>>()?;
    entries.sort_unstable_by_key(|(index, name, _)| (*index, name.len(), *name));
    let used: usize = entries.iter().map(|(_, name, value)| pad(16 + name.len()) + pad(value.len())).sum();
    if HEAD + used + 4 > BLOCK_LEN {
        return Err(format!("its attributes need {} bytes: ext4 has {BLOCK_LEN} for them", HEAD + used + 4));
    }
    let mut bytes = vec![0; BLOCK_LEN];
    let (mut at, mut end, mut block_hash) = (HEAD, BLOCK_LEN, 0_u32);
    for (index, name, value) in &entries {
        let start = end - pad(value.len());
        bytes[start..start + value.len()].copy_from_slice(value);
        let hash = entry_hash(name, &bytes[start..end]);
        block_hash = block_hash.rotate_left(16) ^ hash;
        bytes[at] = name.len() as u8;
        bytes[at + 1] = *index;
        bytes.put16(at + 2, if value.is_empty() { 0 } else { start as u16 });
        bytes.put32(at + 8, value.len() as u32);
        bytes.put32(at + 12, hash);
        bytes[at + 16..at + 16 + name.len()].copy_from_slice(name);
        (at, end) = (at + pad(16 + name.len()), start);
    }
    bytes.put32(0, MAGIC);
    bytes.put32(4, 1);
    bytes.put32(8, 1);
    bytes.put32(12, block_hash);
    let checksum = crc32c(crc32c(seed, &block.to_le_bytes()), &bytes);
    bytes.put32(16, checksum);
    Ok(bytes)
}

/// Splits the name and converts the value.
fn entry<'a>((name, value): XattrPair<'a>) -> Result<(u8, &'a [u8], Vec<u8>), String> {
    let shown = || String::from_utf8_lossy(name).into_owned();
    for (prefix, index) in PREFIXES {
        match name.strip_prefix(prefix) {
            Some(rest) if ACLS.contains(&index) && rest.is_empty() => {
                let value = acl(value).ok_or_else(|| format!("the value of {} is no ACL", shown()))?;
                return Ok((index, rest, value));
            }
            Some(rest) if !ACLS.contains(&index) && !rest.is_empty() => return Ok((index, rest, value.to_vec())),
            _ => {}
        }
    }
    Err(format!("ext4 has no attributes like {}", shown()))
}

/// Converts an ACL from the form of system calls (version 2, eight bytes an entry) to that of ext4 (version 1, with an
/// ID only for the entries of named users and groups).
fn acl(value: &[u8]) -> Option<Vec<u8>> {
    const USER: u16 = 2;
    const GROUP: u16 = 8;
    let (version, entries) = value.split_at_checked(4)?;
    if version != 2_u32.to_le_bytes() || !entries.len().is_multiple_of(8) {
        return None;
    }
    let mut converted = 1_u32.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        converted.extend_from_slice(if tag == USER || tag == GROUP { entry } else { &entry[..4] });
    }
    Some(converted)
}

/// `ext4_xattr_hash_entry` of the kernel. The value is padded with zeros.
fn entry_hash(name: &[u8], value: &[u8]) -> u32 {
    let named = name.iter().fold(0_u32, |hash, &byte| hash.rotate_left(5) ^ u32::from(byte));
    value
        .chunks_exact(4)
        .fold(named, |hash, word| hash.rotate_left(16) ^ u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

fn pad(len: usize) -> usize {
    len.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_do_not_fit_are_refused() {
        let long = vec![1; 4000];
        assert!(encode(&[(b"user.a", &long)], 1, 0).is_ok());
        assert!(encode(&[(b"user.a", &long), (b"user.b", &[1; 100])], 1, 0).unwrap_err().contains("4096"));
        assert!(encode(&[(b"other.a", b"")], 1, 0).unwrap_err().contains("other.a"));
        assert!(encode(&[(b"user.", b"")], 1, 0).is_err());
    }

    #[test]
    fn acls_lose_the_ids_that_mean_nothing() {
        let mut value = 2_u32.to_le_bytes().to_vec();
        for (tag, id) in [(1_u16, u32::MAX), (2, 1000), (4, u32::MAX), (0x10, u32::MAX), (0x20, u32::MAX)] {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&7_u16.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        assert_eq!(acl(&value).unwrap().len(), 4 + 4 * 4 + 8);
        assert!(acl(&value[..10]).is_none());
        assert!(encode(&[(b"system.posix_acl_access", &value)], 1, 0).is_ok());
        assert!(encode(&[(b"system.posix_acl_access", b"no")], 1, 0).unwrap_err().contains("no ACL"));
    }
}
