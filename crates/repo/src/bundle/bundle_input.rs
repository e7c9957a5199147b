//! The bytes of a bundle of any version, as its records are read: what is left of a record, and where an error is.

use std::io::{self, Read};

use libcomposefs_image::{Algorithm, Digest};

use super::format::{FormatError, MAGIC, NAMES_MAX};

/// Number of bytes of the head.
const HEAD_LEN: u64 = 24;

/// The input of a reader of records.
#[derive(Debug)]
pub(super) struct BundleInput<R> {
    input: R,
    /// Number of bytes read.
    pub(super) offset: u64,
    /// Number of bytes that the current record has and that were not read yet; `u64::MAX` while it is not known.
    pub(super) left: u64,
    /// Algorithm of all digests.
    pub(super) algorithm: Algorithm,
    /// Number of records read.
    pub(super) records: u64,
}

impl<R: Read> BundleInput<R> {
    /// Reads the head of a bundle, which must have this version.
    pub(super) fn new(input: R, expected: u32) -> Result<Self, FormatError> {
        let mut head = Self { input, offset: 0, left: HEAD_LEN, algorithm: Algorithm::Sha256, records: 0 };
        if head.array::<16>()? != *MAGIC {
            return Err(FormatError::Rule(0, "it does not begin with composefs-bundle".into()));
        }
        let version = u32::from_le_bytes(head.array()?);
        if version != expected {
            return Err(head.rule(format!("it has version {version}; this program knows versions 1 and 2")));
        }
        let [number, rest @ ..]: [u8; 4] = head.array()?;
        match Algorithm::from_kernel_number(number) {
            Some(algorithm) if rest == [0; 3] => Ok(Self { algorithm, ..head }),
            _ => Err(head.rule(format!("its algorithm {number} is unknown"))),
        }
    }

    /// Reads the rest of the last record, the number of records, after which nothing may come.
    pub(super) fn end(&mut self) -> Result<(), FormatError> {
        let records = u64::from_le_bytes(self.array()?);
        if records != self.records {
            return Err(self.rule(format!("it has {} records instead of {records}", self.records)));
        }
        if self.left > 0 || self.input.read(&mut [0])? > 0 {
            return Err(self.rule("trailing data after the end record".into()));
        }
        Ok(())
    }

    /// Reads a digest of the bundle's algorithm.
    pub(super) fn digest(&mut self) -> Result<Digest, FormatError> {
        let mut raw = [0; 64];
        let raw = &mut raw[..self.algorithm.digest_len()];
        self.fill(raw)?;
        Digest::new(self.algorithm, raw).ok_or_else(|| self.rule("no digest".into()))
    }

    /// Reads the names of an image.
    pub(super) fn names(&mut self) -> Result<Vec<String>, FormatError> {
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

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), FormatError> {
        if self.left < bytes.len() as u64 {
            return Err(self.rule("a record is shorter than its fields".into()));
        }
        match self.input.read_exact(bytes) {
            Ok(()) => {
                self.offset += bytes.len() as u64;
                self.left -= bytes.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.rule("it ends too early".into())),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the error of a broken rule, at the current offset.
    pub(super) fn rule(&self, rule: String) -> FormatError {
        FormatError::Rule(self.offset, rule)
    }
}

/// Reads the rest of the current record.
impl<R: Read> Read for BundleInput<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if room == 0 {
            return Ok(0);
        }
        let read = self.input.read(&mut buffer[..room])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        self.offset += read as u64;
        Ok(read)
    }
}
