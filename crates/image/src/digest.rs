//! The digest that names a file: its fs-verity digest, with the algorithm it was made by.

use std::fmt;
use std::str::FromStr;

use libcomposefs_hash::Family;

/// A hash algorithm of fs-verity (`FS_VERITY_HASH_ALG_*` in `include/uapi/linux/fsverity.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256: what every composefs image of today is made with.
    #[default]
    Sha256,
    /// The algorithm SHA-512.
    Sha512,
}

impl Algorithm {
    /// Every algorithm, the default first.
    pub const ALL: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

    /// The length of a digest in bytes: 32 or 64.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        self.family().hash_len()
    }

    /// The number the kernel knows the algorithm by: 1 or 2.
    #[must_use]
    pub const fn kernel_number(self) -> u8 {
        match self {
            Algorithm::Sha256 => 1,
            Algorithm::Sha512 => 2,
        }
    }

    /// The algorithm with this kernel number.
    #[must_use]
    pub fn from_kernel_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.kernel_number() == number)
    }

    /// The algorithm whose digests have this many bytes.
    #[must_use]
    pub fn from_digest_len(len: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.digest_len() == len)
    }

    pub(crate) const fn family(self) -> Family {
        match self {
            Algorithm::Sha256 => Family::Sha256,
            Algorithm::Sha512 => Family::Sha512,
        }
    }

    /// The name on command lines and in messages: `sha256` or `sha512`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    /// The name with the base-2 logarithm of the block size, which is always 4096 bytes, as `meta.json` of repositories
    /// and statements have it: `fsverity-sha256-12` or `fsverity-sha512-12`.
    #[must_use]
    pub const fn verity_name(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "fsverity-sha256-12",
            Algorithm::Sha512 => "fsverity-sha512-12",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|a| a.name() == name).ok_or_else(|| UnknownAlgorithm(name.to_owned()))
    }
}

/// The text names no algorithm we know.
#[derive(Debug, thiserror::Error)]
#[error("unknown hash algorithm {0:?}: expected sha256 or sha512")]
pub struct UnknownAlgorithm(String);

/// An fs-verity digest. Two digests are equal only if their algorithms are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// Left-aligned, the rest zero.
    bytes: [u8; 64],
}

impl Digest {
    /// A digest from its raw bytes; `None` if the length is not the algorithm's.
    #[must_use]
    pub fn new(algorithm: Algorithm, raw: &[u8]) -> Option<Self> {
        if raw.len() != algorithm.digest_len() {
            return None;
        }
        let mut bytes = [0; 64];
        bytes[..raw.len()].copy_from_slice(raw);
        Some(Self { algorithm, bytes })
    }

    /// Parses exactly 64 or 128 hex digits of either case; the length determines the algorithm.
    pub fn from_hex(hex: impl AsRef<[u8]>) -> Result<Self, InvalidDigest> {
        let hex = hex.as_ref();
        let invalid = || InvalidDigest { text: String::from_utf8_lossy(hex).into_owned() };
        let algorithm = Algorithm::from_digest_len(hex.len() / 2)
            .filter(|a| a.digest_len() * 2 == hex.len())
            .ok_or_else(invalid)?;
        let mut bytes = [0; 64];
        let mut seen = 0;
        for (byte, &[high, low]) in bytes.iter_mut().zip(hex.as_chunks::<2>().0) {
            let (high, low) = (HEX_VALUES[usize::from(high)], HEX_VALUES[usize::from(low)]);
            seen |= high | low;
            *byte = high << 4 | low & 15;
        }
        if seen == NO_HEX { Err(invalid()) } else { Ok(Self { algorithm, bytes }) }
    }

    /// The algorithm the digest was made by.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw bytes: 32 or 64 of them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.algorithm.digest_len()]
    }

    /// The bytes that a signature of the kernel signs, `struct fsverity_formatted_digest` of
    /// `include/uapi/linux/fsverity.h`: `FSVerity`, the number of the algorithm and that of the digest's bytes in two
    /// bytes each, little endian, and the digest.
    #[must_use]
    pub fn kernel_formatted(&self) -> Vec<u8> {
        let raw = self.as_bytes();
        let mut bytes = b"FSVerity".to_vec();
        bytes.extend(u16::from(self.algorithm.kernel_number()).to_le_bytes());
        // 32 or 64.
        bytes.extend([raw.len() as u8, 0]);
        bytes.extend(raw);
        bytes
    }

    /// The digest in lower-case hex.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let mut hex = String::with_capacity(129);
        push_hex(self.as_bytes(), &mut hex);
        hex
    }

    /// The path of the object below its store: `xx/` and the remaining hex digits (`docs/format/object-store.md`).
    #[must_use]
    pub fn object_path(&self) -> String {
        let mut path = String::with_capacity(129);
        let (first, rest) = self.as_bytes().split_at(1);
        push_hex(first, &mut path);
        path.push('/');
        push_hex(rest, &mut path);
        path
    }

    /// Returns `true` if a path is that of this digest's object.
    #[must_use]
    pub fn has_object_path(&self, path: &[u8]) -> bool {
        let hex = |nibble: u8| HEX_DIGITS[usize::from(nibble)];
        let Some((&[a, b, b'/'], rest)) = path.split_first_chunk::<3>() else { return false };
        let (pairs, odd) = rest.as_chunks::<2>();
        let bytes = self.as_bytes();
        odd.is_empty()
            && pairs.len() + 1 == bytes.len()
            && std::iter::once(&[a, b]).chain(pairs).zip(bytes).all(|(p, x)| *p == [hex(x >> 4), hex(x & 15)])
    }

    /// The digest an object path spells, if it is of that exact form (lower case, one slash).
    #[must_use]
    pub fn from_object_path(path: &[u8]) -> Option<Self> {
        let (&[a, b, b'/'], rest) = path.split_first_chunk::<3>()? else { return None };
        let mut hex = [0; 128];
        let len = rest.len().checked_add(2).filter(|&len| len == 64 || len == 128)?;
        hex[0] = a;
        hex[1] = b;
        hex[2..len].copy_from_slice(rest);
        if hex[..len].iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        Self::from_hex(&hex[..len]).ok()
    }
}

/// The value of every byte as a hex digit of either case, or [`NO_HEX`].
const HEX_VALUES: [u8; 256] = {
    let mut values = [NO_HEX; 256];
    let mut value = 0;
    while value < 16 {
        let digit = HEX_DIGITS[value as usize];
        values[digit as usize] = value;
        values[digit.to_ascii_uppercase() as usize] = value;
        value += 1;
    }
    values
};

/// Has all bits of every value.
const NO_HEX: u8 = 0xff;

/// The value of one hex digit of either case.
pub(crate) fn hex_value(digit: u8) -> Option<u8> {
    Some(HEX_VALUES[usize::from(digit)]).filter(|value| *value != NO_HEX)
}

/// The digits of lower-case hex.
pub(crate) const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

fn push_hex(bytes: &[u8], hex: &mut String) {
    for byte in bytes {
        hex.push(char::from(HEX_DIGITS[usize::from(byte >> 4)]));
        hex.push(char::from(HEX_DIGITS[usize::from(byte & 15)]));
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{self}", self.algorithm)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_hex(text)
    }
}

/// The text is not a digest.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a digest: expected exactly 64 (SHA-256) or 128 (SHA-512) hex digits")]
pub struct InvalidDigest {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways_and_only_whole() {
        let hex = "ab".repeat(32);
        let digest = Digest::from_hex(&hex).unwrap();
        assert_eq!(digest.algorithm(), Algorithm::Sha256);
        assert_eq!(digest.to_hex(), hex);
        assert_eq!(Digest::from_hex(hex.to_uppercase()).unwrap(), digest);
        assert_eq!(Digest::from_hex("cd".repeat(64)).unwrap().algorithm(), Algorithm::Sha512);
        for bad in ["", "ab", &hex[1..], &format!("{hex}a"), &format!("{}g", &hex[1..])] {
            assert!(Digest::from_hex(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn object_paths_are_canonical() {
        for hex in ["ab".repeat(32), "cd".repeat(64)] {
            let digest = Digest::from_hex(&hex).unwrap();
            let path = digest.object_path();
            assert_eq!(path.len(), hex.len() + 1);
            assert_eq!(Digest::from_object_path(path.as_bytes()), Some(digest));
            assert!(digest.has_object_path(path.as_bytes()));
            for other in [&path[1..], &path[..path.len() - 2], &path.to_uppercase(), &path.replace('/', "-")] {
                assert!(!digest.has_object_path(other.as_bytes()), "{other}");
            }
            assert_eq!(Digest::from_object_path(path.to_uppercase().as_bytes()), None);
            assert_eq!(Digest::from_object_path(&path.as_bytes()[1..]), None);
            assert_eq!(Digest::from_object_path(format!("/{path}").as_bytes()), None);
        }
        assert_eq!(Digest::from_object_path(b"ab/"), None);
    }
}
