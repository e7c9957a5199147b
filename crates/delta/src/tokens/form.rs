//! The token form of a content: its DEFLATE streams as tokens, all other bytes as they are.

use std::io;

use libcomposefs_deflate::{BlockHead, ByteSource, DeflateSink, DeflateToken, parse_deflate};

use crate::number::push_number;

/// Most bytes of a form.
pub(crate) const FORM_MAX: usize = 16 << 20;

/// Makes the form of a content with DEFLATE streams at the ends of `gaps`: the number of bytes between the end of a
/// stream and the beginning of the next one.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] if there is no stream at one of these places, or the form is larger than
/// [`FORM_MAX`].
pub(super) fn token_form(content: &[u8], gaps: &[u64]) -> io::Result<Vec<u8>> {
    let (mut form, mut source, mut end) = (TokenForm::default(), ByteSource::new(content), 0);
    for gap in gaps {
        let start = usize::try_from(*gap).ok().and_then(|gap| gap.checked_add(end)).unwrap_or(usize::MAX);
        let plain = content.get(end..start).ok_or_else(|| invalid("a stream begins beyond the end of the bases"))?;
        form.plain(plain)?;
        pass(&mut source, plain.len())?;
        parse_deflate(&mut source, &mut form)?;
        end = content.len() - left_in(&mut source)?;
    }
    form.plain(content.get(end..).unwrap_or_default())?;
    Ok(form.bytes)
}

pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn pass(source: &mut ByteSource<&[u8]>, mut len: usize) -> io::Result<()> {
    while len > 0 {
        let ready = source.fill()?.len().min(len);
        source.consume(ready);
        len -= ready;
    }
    Ok(())
}

/// Returns the number of bytes that were not passed.
fn left_in(source: &mut ByteSource<&[u8]>) -> io::Result<usize> {
    Ok(source.fill()?.len() + source.input().len())
}

/// A form that grows.
#[derive(Debug, Default)]
pub(super) struct TokenForm {
    bytes: Vec<u8>,
    /// Place of the number of literals before those since the last match. It has one byte, which is enough for most.
    run: usize,
}

impl TokenForm {
    /// Adds bytes that are in no stream.
    pub(super) fn plain(&mut self, plain: &[u8]) -> io::Result<()> {
        push_number(&mut self.bytes, plain.len() as u64);
        self.bytes.extend_from_slice(plain);
        self.expect_room()
    }

    /// Becomes the form of the stream at the beginning of some bytes, and returns the length of the stream. An error is
    /// the work that was in vain, in bytes of the form.
    pub(super) fn read_stream(&mut self, bytes: &[u8]) -> Result<usize, usize> {
        self.bytes.clear();
        let mut source = ByteSource::new(bytes);
        let result = parse_deflate(&mut source, self).and_then(|()| left_in(&mut source));
        result.map(|left| bytes.len() - left).map_err(|_| self.bytes.len())
    }

    /// Adds the form of a stream.
    pub(super) fn append(&mut self, stream: &TokenForm) -> io::Result<()> {
        self.bytes.extend_from_slice(&stream.bytes);
        self.expect_room()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn begin_run(&mut self) {
        self.run = self.bytes.len();
        self.bytes.push(0);
    }

    #[inline]
    fn end_run(&mut self, distance: u32) {
        let count = self.bytes.len() - self.run - 1;
        match u8::try_from(count) {
            Ok(byte @ ..0x80) => self.bytes[self.run] = byte,
            _ => self.widen_count(count),
        }
        // At most 32,768, and 0 at the end of a block.
        self.bytes.extend_from_slice(&(distance as u16).to_le_bytes());
    }

    /// Writes a number of literals that one byte has no room for.
    #[cold]
    fn widen_count(&mut self, count: usize) {
        let mut number = Vec::new();
        push_number(&mut number, count as u64);
        self.bytes.splice(self.run..=self.run, number);
    }

    #[inline]
    fn expect_room(&self) -> io::Result<()> {
        if self.bytes.len() > FORM_MAX { Err(invalid("the tokens exceed 16 MiB")) } else { Ok(()) }
    }
}

impl DeflateSink for TokenForm {
    fn head(&mut self, head: &BlockHead, is_last: bool) -> io::Result<()> {
        head.put(is_last, &mut self.bytes);
        self.begin_run();
        self.expect_room()
    }

    #[inline]
    fn token(&mut self, token: DeflateToken) -> io::Result<()> {
        match token {
            DeflateToken::Literal(byte) => self.bytes.push(byte),
            DeflateToken::Match(..) => {
                self.end_run(token.distance());
                // A length of 3 to 258.
                self.bytes.push((token.byte_count() - 3) as u8);
                self.begin_run();
            }
        }
        self.expect_room()
    }

    fn block_end(&mut self) -> io::Result<()> {
        self.end_run(0);
        Ok(())
    }

    fn padding(&mut self, padding: u8) -> io::Result<()> {
        self.bytes.push(padding);
        Ok(())
    }
}
