//! Reads a dump from a file or standard input, line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use libcomposefs_image::dump::{DumpError, Options, Parsed, Parser};

/// Maximum length of a line. Real dumps stay far below it; a longer line would only fill the memory.
const MAX_LINE: usize = 64 << 20;

/// Reads the dump at `source`; `-` is standard input.
pub(crate) fn read(source: &Path, options: Options) -> anyhow::Result<Parsed> {
    if source == Path::new("-") {
        read_from(io::stdin().lock(), source, options)
    } else {
        let file = File::open(source).with_context(|| format!("open `{}`", source.display()))?;
        read_from(file, source, options)
    }
}

/// Reads a dump from an open input. `source` is its name in messages.
pub(crate) fn read_from(input: impl Read, source: &Path, options: Options) -> anyhow::Result<Parsed> {
    let named = |error: DumpError| anyhow::anyhow!("{}: {error}", source.display());
    let mut parser = Parser::new(options);
    let last_has_newline = read_lines(input, source, &mut parser)?;
    parser.check_last_line(last_has_newline).map_err(named)?;
    parser.finish().map_err(named)
}

/// Passes each line to the parser. Returns whether the last line ended in a newline.
fn read_lines(input: impl Read, source: &Path, parser: &mut Parser) -> anyhow::Result<bool> {
    let mut input = BufReader::with_capacity(1 << 20, input);
    // Start of a line that did not fit in the buffer.
    let mut begun: Vec<u8> = Vec::new();
    loop {
        let buffer = input.fill_buf().with_context(|| format!("read `{}`", source.display()))?;
        if buffer.is_empty() {
            if begun.is_empty() {
                return Ok(true);
            }
            push(parser, source, &begun)?;
            return Ok(false);
        }
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', buffer) {
            let line = &buffer[start..newline];
            start = newline + 1;
            if begun.is_empty() {
                push(parser, source, line)?;
            } else {
                begun.extend_from_slice(line);
                push(parser, source, &begun)?;
                begun.clear();
            }
        }
        begun.extend_from_slice(&buffer[start..]);
        if begun.len() > MAX_LINE {
            let line = parser.line_count() + 1;
            bail!("{}: line {line} is longer than {MAX_LINE} bytes: not a dump", source.display());
        }
        let used = buffer.len();
        input.consume(used);
    }
}

fn push(parser: &mut Parser, source: &Path, line: &[u8]) -> anyhow::Result<()> {
    parser.push_line(line).map_err(|error| anyhow::anyhow!("{}: {error}", source.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reader that returns its bytes in pieces of a fixed length.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buffer.len());
            let (head, rest) = self.0.split_at(len);
            buffer[..len].copy_from_slice(head);
            self.0 = rest;
            Ok(len)
        }
    }

    #[test]
    fn read_size_does_not_change_the_lines() {
        let text = b"/ 0 40755 2 0 0 0 0.0 - - -\n/a 0 100644 1 0 0 0 0.0 - - -\n/b 0 100644 1 0 0 0 0.0 - - -";
        for (text, newline) in [(&text[..], false), (&[text, &b"\n"[..]].concat(), true)] {
            for piece in 1..=text.len() {
                let mut parser = Parser::new(Options::default());
                assert_eq!(read_lines(Pieces(text, piece), Path::new("x"), &mut parser).unwrap(), newline);
                assert_eq!(parser.line_count(), 3);
                assert_eq!(parser.finish().unwrap().tree.entry_count(), 2);
            }
        }
    }
}
