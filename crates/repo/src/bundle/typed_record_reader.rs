//! The records of version 2 of bundles, read: every length is checked before it is used.

use std::io::{self, Read};

use libcomposefs_delta::{Coder, FrameInfo};
use libcomposefs_image::{Algorithm, Digest};

use super::bundle_input::BundleInput;
use super::format::{DOCUMENT_MAX, FormatError};
use super::typed_record::{CRITICAL, END, FRAME, IMAGE, OCI, TypedRecord, VERSION};
use crate::RefName;

/// Most bytes of the payload of a record that is not critical.
const OPTIONAL_MAX: u64 = 1 << 20;
/// Most bytes of an image: it is decoded in memory, and compressed bytes justify a thousand times as many.
const IMAGE_MAX: u64 = 1 << 30;

/// Reads a bundle of version 2, record by record.
#[derive(Debug)]
pub struct TypedRecordReader<R> {
    input: BundleInput<R>,
}

impl<R: Read> TypedRecordReader<R> {
    /// Reads the head of a bundle.
    ///
    /// # Errors
    ///
    /// [`FormatError`]
    pub fn new(input: R) -> Result<Self, FormatError> {
        BundleInput::new(input, VERSION).map(|input| Self { input })
    }

    /// Returns the algorithm of all digests in the bundle.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.input.algorithm
    }

    /// Returns the number of bytes read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.input.offset
    }

    /// Reads the next record; `None` at the end. Data after the end is an error.
    ///
    /// # Errors
    ///
    /// [`FormatError`]
    pub fn next_record(&mut self) -> Result<Option<TypedRecord>, FormatError> {
        if self.input.left > 0 {
            return Err(self.input.rule("the content before was not read".into()));
        }
        self.input.left = 10;
        let kind = u16::from_le_bytes(self.input.array()?);
        self.input.left = u64::from_le_bytes(self.input.array()?);
        match kind {
            END => return self.input.end().map(|()| None),
            FRAME | IMAGE | OCI => {}
            _ if kind & CRITICAL != 0 => {
                let rule = format!("a record of type {kind:#06x} is unknown and critical: a newer version is needed");
                return Err(self.input.rule(rule));
            }
            _ => return self.unknown(kind).map(Some),
        }
        self.input.records += 1;
        let record = match kind {
            FRAME => TypedRecord::Frame(self.frame()?),
            IMAGE => {
                let names = self.input.names()?.into_iter().map(RefName::new).collect::<Result<_, _>>();
                let names = names.map_err(|error| self.input.rule(error.to_string()))?;
                let frame = self.frame()?;
                if frame.objects.len() != 1 {
                    return Err(self.input.rule(format!("the frame of an image has {} objects", frame.objects.len())));
                }
                if frame.objects[0].1 > IMAGE_MAX {
                    return Err(self
                        .input
                        .rule(format!("an image has {} bytes, more than {IMAGE_MAX}", frame.objects[0].1)));
                }
                TypedRecord::Image { frame, names }
            }
            _ => {
                let names = self.input.names()?.iter().map(|name| name.parse()).collect::<Result<_, _>>();
                let names = names.map_err(|error: crate::InvalidStreamName| self.input.rule(error.to_string()))?;
                let len = self.input.left;
                if len > DOCUMENT_MAX {
                    let rule = format!("the description of an OCI image has {len} bytes, more than {DOCUMENT_MAX}");
                    return Err(self.input.rule(rule));
                }
                TypedRecord::Oci { len, names }
            }
        };
        Ok(Some(record))
    }

    fn unknown(&mut self, kind: u16) -> Result<TypedRecord, FormatError> {
        self.input.records += 1;
        if self.input.left > OPTIONAL_MAX {
            let rule = format!("a record of type {kind:#06x} has {} bytes, more than {OPTIONAL_MAX}", self.input.left);
            return Err(self.input.rule(rule));
        }
        let (len, mut payload) = (self.input.left, Vec::new());
        self.input.read_to_end(&mut payload)?;
        if payload.len() as u64 != len {
            return Err(self.input.rule("it ends too early".into()));
        }
        Ok(TypedRecord::Unknown { kind, payload })
    }

    fn frame(&mut self) -> Result<FrameInfo, FormatError> {
        let [coder, zero] = self.input.array()?;
        if zero != 0 {
            return Err(self.input.rule(format!("a reserved byte is {zero} instead of 0")));
        }
        let objects = u16::from_le_bytes(self.input.array()?);
        let bases = u16::from_le_bytes(self.input.array()?);
        let objects = self.contents(objects)?;
        let bases = self.contents(bases)?;
        let frame = FrameInfo { coder: Coder::from_number(coder), length: self.input.left, objects, bases };
        frame.sizes().map_err(|rule| self.input.rule(rule.to_string()))?;
        Ok(frame)
    }

    fn contents(&mut self, count: u16) -> Result<Vec<(Digest, u64)>, FormatError> {
        (0..count).map(|_| Ok((self.input.digest()?, u64::from_le_bytes(self.input.array()?)))).collect()
    }
}

/// Reads the rest of the current record's payload.
impl<R: Read> Read for TypedRecordReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
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
