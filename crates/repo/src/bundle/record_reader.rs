//! The records of version 1 of bundles, read: every length is checked before it is used.

use std::io::{self, Read};

use libcomposefs_image::Algorithm;

use super::bundle_input::BundleInput;
use super::format::{DOCUMENT_MAX, END, FormatError, IMAGE, OBJECT, OCI, Record, VERSION};
use crate::RefName;

/// Reads a bundle, record by record.
#[derive(Debug)]
pub struct RecordReader<R> {
    input: BundleInput<R>,
}

impl<R: Read> RecordReader<R> {
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
    pub fn next_record(&mut self) -> Result<Option<Record>, FormatError> {
        let input = &mut self.input;
        if input.left > 0 {
            return Err(input.rule("the content before was not read".into()));
        }
        // The length of the content stands among the fields.
        input.left = u64::MAX;
        let [kind]: [u8; 1] = input.array()?;
        let (record, len) = match kind {
            END => {
                input.left = 8;
                return input.end().map(|()| None);
            }
            OBJECT | IMAGE => {
                let digest = input.digest()?;
                let len = u64::from_le_bytes(input.array()?);
                let names = if kind == IMAGE { input.names()? } else { Vec::new() };
                let names = names.into_iter().map(RefName::new).collect::<Result<_, _>>();
                let names = names.map_err(|error| input.rule(error.to_string()))?;
                let record =
                    if kind == IMAGE { Record::Image { digest, len, names } } else { Record::Object { digest, len } };
                (record, len)
            }
            OCI => {
                let len = u64::from_le_bytes(input.array()?);
                if len > DOCUMENT_MAX {
                    let rule = format!("the description of an OCI image has {len} bytes, more than {DOCUMENT_MAX}");
                    return Err(input.rule(rule));
                }
                let names = input.names()?.iter().map(|name| name.parse()).collect::<Result<_, _>>();
                let names = names.map_err(|error: crate::InvalidStreamName| input.rule(error.to_string()))?;
                (Record::Oci { len, names }, len)
            }
            _ => return Err(input.rule(format!("a record of kind {kind:#04x} is unknown"))),
        };
        input.records += 1;
        input.left = len;
        Ok(Some(record))
    }
}

/// Reads the content of the current record.
impl<R: Read> Read for RecordReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

#[cfg(test)]
mod tests {
    use libcomposefs_image::Digest;

    use super::*;
    use crate::bundle::format::{write_end, write_head, write_record};

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
