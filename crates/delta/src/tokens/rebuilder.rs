//! A content is rebuilt from its token form.

use std::io::{self, Read};

use libcomposefs_deflate::{BlockHead, DISTANCE_MAX, DeflateToken, DeflateWriter};

use super::form::invalid;
use crate::number::take_number;

/// Size of the output after which it is given out, in bytes.
const OUTPUT: usize = 64 << 10;
/// Most bytes of the form that are used in one step.
const STEP: usize = 16 << 10;

/// Rebuilds the content while it is read.
pub(crate) struct Rebuilder<'f> {
    /// The rest of the form.
    form: &'f [u8],
    next: FormPart,
    /// True in the last block of a stream.
    is_last: bool,
    writer: DeflateWriter,
    /// Number of bytes of the writer that were given out.
    given: usize,
}

/// A part of a form.
#[derive(Clone, Copy, Debug)]
enum FormPart {
    /// Number of plain bytes.
    PlainLen,
    /// Plain bytes, with the number of those that are left.
    Plain(u64),
    /// Head of a block.
    Head,
    /// Number of literals.
    RunLen,
    /// Literals, with the number of those that are left; then comes a match or the end of the block.
    Run(u64),
    End,
}

impl<'f> Rebuilder<'f> {
    pub(crate) fn new(form: &'f [u8]) -> Self {
        Self { form, next: FormPart::PlainLen, is_last: false, writer: DeflateWriter::default(), given: 0 }
    }

    fn step(&mut self) -> io::Result<()> {
        self.next = match self.next {
            FormPart::PlainLen => FormPart::Plain(self.number()?),
            FormPart::Plain(0) if self.form.is_empty() => FormPart::End,
            FormPart::Plain(0) => FormPart::Head,
            FormPart::Plain(left) => {
                let plain = self.some(left)?;
                self.writer.bytes().extend_from_slice(plain);
                FormPart::Plain(left - plain.len() as u64)
            }
            FormPart::Head => {
                let (head, is_last) = BlockHead::take(&mut self.form)?;
                self.writer.head(&head, is_last).ok_or_else(|| invalid("the codes of a block are malformed"))?;
                self.is_last = is_last;
                FormPart::RunLen
            }
            FormPart::RunLen => FormPart::Run(self.number()?),
            FormPart::Run(0) => self.end_run()?,
            FormPart::Run(left) => {
                let literals = self.some(left)?;
                self.writer.literals(literals).ok_or_else(no_code)?;
                FormPart::Run(left - literals.len() as u64)
            }
            FormPart::End => FormPart::End,
        };
        Ok(())
    }

    /// Writes the match after a run of literals, or the end of the block.
    fn end_run(&mut self) -> io::Result<FormPart> {
        let [low, high] = self.bytes()?;
        let distance = u32::from(u16::from_le_bytes([low, high]));
        if distance > 0 {
            let [len] = self.bytes()?;
            if distance > DISTANCE_MAX {
                return Err(invalid("a distance is too large"));
            }
            self.writer.token(DeflateToken::new_match(u32::from(len) + 3, distance)).ok_or_else(no_code)?;
            return Ok(FormPart::RunLen);
        }
        self.writer.block_end().ok_or_else(|| invalid("a block has no code for its end"))?;
        if !self.is_last {
            return Ok(FormPart::Head);
        }
        let [padding] = self.bytes()?;
        self.writer.pad(padding);
        Ok(FormPart::PlainLen)
    }

    fn number(&mut self) -> io::Result<u64> {
        take_number(&mut self.form).ok_or_else(|| invalid("a number is malformed"))
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (bytes, rest) = self.form.split_first_chunk().ok_or_else(|| invalid("the tokens end too early"))?;
        self.form = rest;
        Ok(*bytes)
    }

    /// Takes at least one of `left` bytes.
    fn some(&mut self, left: u64) -> io::Result<&'f [u8]> {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(self.form.len()).min(STEP);
        let (bytes, rest) = self.form.split_at(len);
        self.form = rest;
        if bytes.is_empty() { Err(invalid("the tokens end too early")) } else { Ok(bytes) }
    }
}

fn no_code() -> io::Error {
    invalid("a block has no code for a token")
}

impl Read for Rebuilder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.writer.bytes().len() {
            self.writer.bytes().clear();
            self.given = 0;
            while self.writer.ready_len() < OUTPUT && !matches!(self.next, FormPart::End) {
                self.step()?;
            }
        }
        let ready = self.writer.bytes().get(self.given..).unwrap_or_default();
        let len = ready.len().min(buffer.len());
        buffer[..len].copy_from_slice(&ready[..len]);
        self.given += len;
        Ok(len)
    }
}
