//! The records of version 2 of bundles, read: every length is checked before it is used.

use std::io::{self, Read};

use libcomposefs_delta::{Coder, FrameInfo};
use libcomposefs_image::{Algorithm, Digest};

use super::format::{DOCUMENT_MAX, FormatError, MAGIC, NAMES_MAX};
use super::typed_record::{CRITICAL, END, FRAME, IMAGE, OCI, TypedRecord, VERSION};
use crate::RefName;

/// Most bytes of the payload of a record that is not critical.
const OPTIONAL_MAX: u64 = 1 << 20;
/// Most bytes of an image: it is decoded in memory, and compressed bytes justify a thousand times as many.
const IMAGE_MAX: u64 = 1 << 30;

/// Reads a bundle of version 2, record by record.
#[derive(Debug)]
pub struct TypedRecordReader<R> {
    input: R,
    /// Number of bytes read.
    offset: u64,
    algorithm: Algorithm,
    records: u64,
    /// Number of bytes of the current record's payload that were not read yet.
    left: u64,
}

impl<R: Read> TypedRecordReader<R> {
    /// Reads the head of a bundle.
    ///
    /// # Errors
    ///
    /// [`FormatError`]
    pub fn new(input: R) -> Result<Self, FormatError> {
        let mut reader = Self { input, offset: 0, algorithm: Algorithm::Sha256, records: 0, left: 24 };
        if reader.array::<16>()? != *MAGIC {
            return Err(FormatError::Rule(0, "it does not begin with composefs-bundle".into()));
        }
        let version = u32::from_le_bytes(reader.array()?);
        if version != VERSION {
            return Err(reader.rule(format!("it has version {version}; this program knows versions 1 and {VERSION}")));
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
    pub fn next_record(&mut self) -> Result<Option<TypedRecord>, FormatError> {
        if self.left > 0 {
            return Err(self.rule("the content before was not read".into()));
        }
        self.left = 10;
        let kind = u16::from_le_bytes(self.array()?);
        self.left = u64::from_le_bytes(self.array()?);
        match kind {
            END => return self.end().map(|()| None),
            FRAME | IMAGE | OCI => {}
            _ if kind & CRITICAL != 0 => {
                let rule = format!("a record of type {kind:#06x} is unknown and critical: a newer version is needed");
                return Err(self.rule(rule));
            }
            _ => return self.unknown(kind).map(Some),
        }
        self.records += 1;
        let record = match kind {
            FRAME => TypedRecord::Frame(self.frame()?),
            IMAGE => {
                let names = self.names()?.into_iter().map(RefName::new).collect::<Result<_, _>>();
                let names = names.map_err(|error| self.rule(error.to_string()))?;
                let frame = self.frame()?;
                if frame.objects.len() != 1 {
                    return Err(self.rule(format!("the frame of an image has {} objects", frame.objects.len())));
                }
                if frame.objects[0].1 > IMAGE_MAX {
                    return Err(self.rule(format!("an image has {} bytes, more than {IMAGE_MAX}", frame.objects[0].1)));
                }
                TypedRecord::Image { frame, names }
            }
            _ => {
                let names = self.names()?.iter().map(|name| name.parse()).collect::<Result<_, _>>();
                let names = names.map_err(|error: crate::InvalidStreamName| self.rule(error.to_string()))?;
                let len = self.left;
                if len > DOCUMENT_MAX {
                    let rule = format!("the description of an OCI image has {len} bytes, more than {DOCUMENT_MAX}");
                    return Err(self.rule(rule));
                }
                TypedRecord::Oci { len, names }
            }
        };
        Ok(Some(record))
    }

    fn end(&mut self) -> Result<(), FormatError> {
        let records = u64::from_le_bytes(self.array()?);
        if records != self.records {
            return Err(self.rule(format!("it has {} records instead of {records}", self.records)));
        }
        if self.left > 0 || self.input.read(&mut [0])? > 0 {
            return Err(self.rule("trailing data after the end record".into()));
        }
        Ok(())
    }

    fn unknown(&mut self, kind: u16) -> Result<TypedRecord, FormatError> {
        self.records += 1;
        if self.left > OPTIONAL_MAX {
            let rule = format!("a record of type {kind:#06x} has {} bytes, more than {OPTIONAL_MAX}", self.left);
            return Err(self.rule(rule));
        }
        let (len, mut payload) = (self.left, Vec::new());
        self.read_to_end(&mut payload)?;
        if payload.len() as u64 != len {
            return Err(self.rule("it ends too early".into()));
        }
        Ok(TypedRecord::Unknown { kind, payload })
    }

    fn frame(&mut self) -> Result<FrameInfo, FormatError> {
        let [coder, zero] = self.array()?;
        if zero != 0 {
            return Err(self.rule(format!("a reserved byte is {zero} instead of 0")));
        }
        let objects = u16::from_le_bytes(self.array()?);
        let bases = u16::from_le_bytes(self.array()?);
        let objects = self.contents(objects)?;
        let bases = self.contents(bases)?;
        let frame = FrameInfo { coder: Coder::from_number(coder), length: self.left, objects, bases };
        frame.sizes().map_err(|rule| self.rule(rule.to_string()))?;
        Ok(frame)
    }

    fn contents(&mut self, count: u16) -> Result<Vec<(Digest, u64)>, FormatError> {
        let mut contents = Vec::new();
        for _ in 0..count {
            let mut raw = [0; 64];
            let raw = &mut raw[..self.algorithm.digest_len()];
            self.fill(raw)?;
            let Some(digest) = Digest::new(self.algorithm, raw) else { return Err(self.rule("no digest".into())) };
            contents.push((digest, u64::from_le_bytes(self.array()?)));
        }
        Ok(contents)
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

    fn rule(&self, rule: String) -> FormatError {
        FormatError::Rule(self.offset, rule)
    }
}

/// Reads the rest of the current record's payload.
impl<R: Read> Read for TypedRecordReader<R> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::typed_record::{write_end, write_frame, write_head};

    /// A bundle of one frame and of a record of some type.
    fn bundle(kind: u16) -> Vec<u8> {
        let digest = Digest::new(Algorithm::Sha256, &[7; 32]).unwrap();
        let frame = FrameInfo { coder: Coder::Stored, length: 3, objects: vec![(digest, 3)], bases: Vec::new() };
        let mut bytes = Vec::new();
        write_head(&mut bytes, Algorithm::Sha256).unwrap();
        write_frame(&mut bytes, &frame, &mut &b"abc"[..]).unwrap();
        bytes.extend(kind.to_le_bytes());
        bytes.extend(5u64.to_le_bytes());
        bytes.extend(b"later");
        write_end(&mut bytes, 2).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<TypedRecord>, FormatError> {
        let mut reader = TypedRecordReader::new(bytes)?;
        let mut records = Vec::new();
        while let Some(record) = reader.next_record()? {
            records.push(record);
            reader.read_to_end(&mut Vec::new())?;
        }
        Ok(records)
    }

    #[test]
    fn unknown_records_are_kept_unless_they_are_critical() {
        let records = read(&bundle(0x0123)).unwrap();
        assert!(matches!(&records[0], TypedRecord::Frame(frame) if frame.length == 3));
        assert_eq!(records[1], TypedRecord::Unknown { kind: 0x0123, payload: b"later".to_vec() });
        let Err(FormatError::Rule(offset, rule)) = read(&bundle(0x8123)) else { panic!("it is accepted") };
        assert!(offset == 24 + 10 + 46 + 3 + 10 && rule.contains("0x8123"), "{offset}: {rule}");
    }

    #[test]
    fn no_byte_changed_or_missing_makes_it_panic() {
        let whole = bundle(0x0123);
        for index in 0..whole.len() {
            assert!(read(&whole[..index]).is_err(), "cut at {index}");
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[index] = value;
                let _ = read(&bytes);
            }
        }
    }
}
