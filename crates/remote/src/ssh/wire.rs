//! Frames of the protocol between two programs: a length, a kind and a payload of at most 64 KiB.

use std::io::{self, Read, Write};

/// Most bytes of a payload.
pub(super) const PAYLOAD_MAX: usize = 64 << 10;
/// First bytes in both directions.
const MAGIC: [u8; 16] = *b"composefs-remote";
/// The only version of the protocol.
const VERSION: u16 = 1;
/// Bytes before a payload: its length in four, and the kind.
const HEADER: usize = 5;

/// Why the other side cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The connection failed, or ended within a message.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The other side breaks the protocol.
    #[error("the other side breaks the protocol: {0}")]
    Protocol(&'static str),
    /// The first bytes are of another program.
    #[error("the other side does not speak the protocol: its first bytes are {0:?}")]
    Foreign(String),
    /// The other side has no common version.
    #[error("the other side knows versions {0} to {1} of the protocol, this program knows {VERSION}")]
    Version(u16, u16),
}

/// Reads frames, one at a time.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    input: R,
    payload: Vec<u8>,
}

/// Writes frames.
#[derive(Debug)]
pub(super) struct MessageWriter<W> {
    output: W,
}

impl<R: Read> FrameReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, payload: Vec::new() }
    }

    /// Reads the next frame: its kind and its payload. `None` at the end of the input between two frames.
    pub(super) fn next(&mut self) -> Result<Option<(u8, &[u8])>, WireError> {
        let mut header = [0; HEADER];
        let mut read = 0;
        while let Some(rest) = header.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest) {
                Ok(0) if read == 0 => return Ok(None),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let [a, b, c, d, kind] = header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > PAYLOAD_MAX {
            return Err(WireError::Protocol("a message has more than 64 KiB"));
        }
        self.payload.resize(length, 0);
        self.input.read_exact(&mut self.payload)?;
        Ok(Some((kind, &self.payload)))
    }

    /// Reads the first bytes of the other side: the lowest and the highest version that it knows.
    pub(super) fn hello(&mut self) -> Result<(u16, u16), WireError> {
        let mut hello = [0; MAGIC.len()];
        let mut read = 0;
        while let Some(rest) = hello.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.input.read(rest)? {
                0 => break,
                more => read += more,
            }
            let seen = hello.get(..read).unwrap_or_default();
            if !MAGIC.starts_with(seen) {
                return Err(WireError::Foreign(crate::printable::printable(&String::from_utf8_lossy(seen), 60)));
            }
        }
        if read < MAGIC.len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed before the first message").into());
        }
        let mut versions = [0; 4];
        self.input.read_exact(&mut versions)?;
        let [a, b, c, d] = versions;
        Ok((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
    }

    /// Reads the first bytes, and checks that there is a common version.
    pub(super) fn expect_hello(&mut self) -> Result<(), WireError> {
        let (lowest, highest) = self.hello()?;
        if (lowest..=highest).contains(&VERSION) { Ok(()) } else { Err(WireError::Version(lowest, highest)) }
    }
}

impl<W: Write> MessageWriter<W> {
    pub(super) fn new(output: W) -> Self {
        Self { output }
    }

    /// Writes the first bytes.
    pub(super) fn hello(&mut self) -> io::Result<()> {
        let version = VERSION.to_le_bytes();
        self.output.write_all(&[&MAGIC[..], &version, &version].concat())?;
        self.output.flush()
    }

    /// Writes a frame. The payload has at most 64 KiB.
    pub(super) fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= PAYLOAD_MAX);
        let length = length.ok_or_else(|| io::Error::other("a message is too long for the protocol"))?;
        let [a, b, c, d] = length.to_le_bytes();
        self.output.write_all(&[a, b, c, d, kind])?;
        self.output.write_all(payload)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_are_written() {
        let mut writer = MessageWriter::new(Vec::new());
        writer.hello().unwrap();
        writer.frame(7, b"payload").unwrap();
        writer.frame(8, &[]).unwrap();
        assert!(writer.frame(8, &vec![0; PAYLOAD_MAX + 1]).is_err());
        let bytes = writer.output;
        let mut reader = FrameReader::new(&bytes[..]);
        reader.expect_hello().unwrap();
        assert_eq!(reader.next().unwrap(), Some((7, &b"payload"[..])));
        assert_eq!(reader.next().unwrap(), Some((8, &b""[..])));
        assert_eq!(reader.next().unwrap(), None);
        for end in 0..bytes.len() - 5 {
            let mut reader = FrameReader::new(&bytes[..end]);
            let all = reader.expect_hello().and_then(|()| reader.next().map(|frame| frame.is_some()));
            assert!(end == 20 || all.is_err(), "{end}: {all:?}");
        }
    }

    #[test]
    fn other_programs_and_lengths_are_refused() {
        let mut reader = FrameReader::new(&b"Welcome to the machine"[..]);
        let message = reader.expect_hello().unwrap_err().to_string();
        assert!(message.contains("Welcome"), "{message}");
        let mut reader = FrameReader::new(&b"composefs-remote\x02\0\x03\0"[..]);
        assert!(matches!(reader.expect_hello(), Err(WireError::Version(2, 3))));
        let mut reader = FrameReader::new(&[0xff, 0xff, 0xff, 0xff, 1, 2, 3][..]);
        assert!(matches!(reader.next(), Err(WireError::Protocol(_))));
    }
}
