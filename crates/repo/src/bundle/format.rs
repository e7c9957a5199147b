//! The format of bundles, without files: a head, records, an end. The reader checks everything.

use std::io::{self, Read, Write};

use libcomposefs_image::{Algorithm, Digest};

use crate::{RefName, StreamTag};

/// The magic bytes at the start of a bundle.
pub const MAGIC: &[u8; 16] = b"composefs-bundle";
pub(super) const VERSION: u32 = 1;
/// Limit of the names of one image.
pub(super) const NAMES_MAX: u16 = 1024;
/// Limit of the description of an OCI image, in bytes.
pub(super) const DOCUMENT_MAX: u64 = 4 << 20;

/// The byte at the start of a record that says its kind.
const OBJECT: u8 = b'O';
const IMAGE: u8 = b'I';
const OCI: u8 = b'C';
const END: u8 = b'E';

/// A record of a bundle. Its content follows, and must be read before the next record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// An object.
    Object {
        /// Digest of the object, which the reader must compare.
        digest: Digest,
        /// Size of the object, in bytes.
        len: u64,
    },
    /// An image. All of its objects come before it, or are with the receiver.
    Image {
        /// Digest of the image, which the reader must compare.
        digest: Digest,
        /// Size of the image, in bytes.
        len: u64,
        /// Names of the image.
        names: Vec<RefName>,
    },
    /// The description of an OCI image. All of its objects come before it, or are with the receiver.
    Oci {
        /// Size of the description, in bytes.
        len: u64,
        /// Names of the image.
        names: Vec<StreamTag>,
    },
}

/// Reason why a bundle cannot be read.
#[derive(Debug)]
pub enum FormatError {
    /// The input cannot be read.
    Io(io::Error),
    /// The bundle breaks a rule of the format: the offset, and the rule.
    Rule(u64, String),
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        FormatError::Io(error)
    }
}

/// Writes the head of a bundle.
pub(super) fn write_head(out: &mut impl Write, algorithm: Algorithm) -> io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&[algorithm.kernel_number(), 0, 0, 0])
}

/// Writes the head of a record. The content must follow.
pub(super) fn write_record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let (kind, digest, len) = match record {
        Record::Object { digest, len } => (OBJECT, digest.as_bytes(), len),
        Record::Image { digest, len, .. } => (IMAGE, digest.as_bytes(), len),
        Record::Oci { len, .. } => (OCI, &[][..], len),
    };
    out.write_all(&[kind])?;
    out.write_all(digest)?;
    out.write_all(&len.to_le_bytes())?;
    match record {
        Record::Object { .. } => Ok(()),
        Record::Image { names, .. } => write_names(out, names.iter().map(RefName::as_str)),
        Record::Oci { names, .. } => write_names(out, names.iter().map(StreamTag::as_str)),
    }
}

pub(super) fn write_names<'n>(out: &mut impl Write, names: impl ExactSizeIterator<Item = &'n str>) -> io::Result<()> {
    let count = u16::try_from(names.len()).ok().filter(|count| *count <= NAMES_MAX);
    out.write_all(&count.ok_or(io::ErrorKind::InvalidInput)?.to_le_bytes())?;
    for name in names {
        let bytes = name.as_bytes();
        out.write_all(&u16::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?.to_le_bytes())?;
        out.write_all(bytes)?;
    }
    Ok(())
}

/// Writes the end of a bundle.
pub(super) fn write_end(out: &mut impl Write, records: u64) -> io::Result<()> {
    out.write_all(&[END])?;
    out.write_all(&records.to_le_bytes())
}

/// Reads a bundle, record by record.
#[derive(Debug)]
pub struct RecordReader<R> {
    input: R,
    /// Number of bytes read.
    offset: u64,
    algorithm: Algorithm,
    records: u64,
    /// Number of bytes of the current record's content that were not read yet.
    left: u64,
}

impl<R: Read> RecordReader<R> {
    /// Reads the head of a bundle.
    ///
    /// # Errors
    ///
    /// [`FormatError`]
    pub fn new(input: R) -> Result<Self, FormatError> {
        let mut reader = Self { input, offset: 0, algorithm: Algorithm::Sha256, records: 0, left: 0 };
        let magic: [u8; 16] = reader.array()?;
        if magic != *MAGIC {
            return Err(FormatError::Rule(0, "it does not begin with composefs-bundle".into()));
        }
        let version = u32::from_le_bytes(reader.array()?);
        if version != VERSION {
            return Err(reader.rule(format!("it has version {version}; this program knows versions {VERSION} and 2")));
        }
        let [number, rest @ ..]: [u8; 4] = reader.array()?;
        match Algorithm::from_kernel_number(number) {
            Some(algorithm) if rest == [0; 3] => Ok(Self { algorithm, ..reader }),
            _ => Err(reader.rule(format!("its algorithm {number} is unknown"))),
        }
    }

    /// Returns the algorithm of all digests in the bundle.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the number of bytes read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next record; `None` at the end. Data after the end is an error.
    ///
    /// # Errors
    ///
    /// [`FormatError`]
    pub fn next_record(&mut self) -> Result<Option<Record>, FormatError> {
        if self.left > 0 {
            return Err(self.rule("the content before was not read".into()));
        }
        let [kind]: [u8; 1] = self.array()?;
        match kind {
            END => {
                let records = u64::from_le_bytes(self.array()?);
                if records != self.records {
                    return Err(self.rule(format!("it has {} records instead of {records}", self.records)));
                }
                match self.input.read(&mut [0])? {
                    0 => Ok(None),
                    _ => Err(self.rule("trailing data after the end record".into())),
                }
            }
            OBJECT | IMAGE => self.record(kind == IMAGE).map(Some),
            OCI => self.oci_record().map(Some),
            _ => Err(self.rule(format!("a record of kind {kind:#04x} is unknown"))),
        }
    }

    fn record(&mut self, is_image: bool) -> Result<Record, FormatError> {
        let mut raw = [0; 64];
        let raw = &mut raw[..self.algorithm.digest_len()];
        self.fill(raw)?;
        let Some(digest) = Digest::new(self.algorithm, raw) else { return Err(self.rule("no digest".into())) };
        let len = u64::from_le_bytes(self.array()?);
        let names = if is_image { self.names()? } else { Vec::new() };
        let names = names.into_iter().map(RefName::new).collect::<Result<_, _>>();
        let names = names.map_err(|error| self.rule(error.to_string()))?;
        self.records += 1;
        self.left = len;
        Ok(if is_image { Record::Image { digest, len, names } } else { Record::Object { digest, len } })
    }

    fn oci_record(&mut self) -> Result<Record, FormatError> {
        let len = u64::from_le_bytes(self.array()?);
        if len > DOCUMENT_MAX {
            return Err(self.rule(format!("the description of an OCI image has {len} bytes, more than {DOCUMENT_MAX}")));
        }
        let names = self.names()?.iter().map(|name| name.parse()).collect::<Result<_, _>>();
        let names = names.map_err(|error: crate::InvalidStreamName| self.rule(error.to_string()))?;
        self.records += 1;
        self.left = len;
        Ok(Record::Oci { len, names })
    }

    fn names(&mut self) -> Result<Vec<String>, FormatError> {
        let count = u16::from_le_bytes(self.array()?);
        if count > NAMES_MAX {
            return Err(self.rule(format!("an image has {count} names")));
        }
        let mut names = Vec::new();
        for _ in 0..count {
            let mut name = vec![0; usize::from(u16::from_le_bytes(self.array()?))];
            self.fill(&mut name)?;
            names.push(String::from_utf8(name).map_err(|_| self.rule("a name is no UTF-8".into()))?);
        }
        Ok(names)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), FormatError> {
        match self.input.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.rule("it ends too early".into())),
            Err(error) => Err(error.into()),
        }
    }

    fn rule(&self, rule: String) -> FormatError {
        FormatError::Rule(self.offset, rule)
    }
}

/// Reads the content of the current record.
impl<R: Read> Read for RecordReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let len = self.input.read(&mut buffer[..room])?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= len as u64;
        self.offset += len as u64;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Vec<u8> {
        let mut out = Vec::new();
        let digest = Digest::from_hex("ab".repeat(32)).unwrap();
        write_head(&mut out, Algorithm::Sha256).unwrap();
        write_record(&mut out, &Record::Object { digest, len: 3 }).unwrap();
        out.extend_from_slice(b"abc");
        let names = vec![RefName::new("a/b").unwrap(), RefName::new("c").unwrap()];
        write_record(&mut out, &Record::Image { digest, len: 2, names }).unwrap();
        out.extend_from_slice(b"de");
        let names = vec!["docker.io/library/debian:13".parse().unwrap()];
        write_record(&mut out, &Record::Oci { len: 4, names }).unwrap();
        out.extend_from_slice(b"fghi");
        write_end(&mut out, 3).unwrap();
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<(Record, Vec<u8>)>, FormatError> {
        let mut reader = RecordReader::new(bytes)?;
        let mut all = Vec::new();
        while let Some(record) = reader.next_record()? {
            let mut content = Vec::new();
            reader.read_to_end(&mut content)?;
            all.push((record, content));
        }
        assert_eq!(reader.offset(), bytes.len() as u64);
        Ok(all)
    }

    #[test]
    fn what_is_written_is_read() {
        let all = read(&bundle()).unwrap();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].1.as_slice(), all[1].1.as_slice()), (&b"abc"[..], &b"de"[..]));
        assert!(matches!(&all[1].0, Record::Image { names, .. } if names.len() == 2 && names[0].as_str() == "a/b"));
        assert!(matches!(&all[2].0, Record::Oci { names, .. } if names[0].as_str() == "docker.io/library/debian:13"));
        assert_eq!(all[2].1, b"fghi");
    }

    #[test]
    fn half_a_bundle_is_none() {
        let whole = bundle();
        for len in 0..whole.len() {
            assert!(read(&whole[..len]).is_err(), "{len}");
        }
        assert!(read(&[&whole[..], b"x"].concat()).is_err());
    }

    #[test]
    fn no_byte_changed_makes_it_panic() {
        let whole = bundle();
        for index in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, b'O', b'I', b'C', b'E'] {
                let mut bytes = whole.clone();
                bytes[index] = value;
                let _ = read(&bytes);
            }
        }
    }
}
