//! Compression of layers, told by the first bytes and never by the media type: tools write one under the name of the
//! other (`docs/format/oci.md`, section 2.1).

use std::io::{self, BufRead, Chain, Cursor, Read};

use flate2::bufread::GzDecoder;
use zstd::stream::read::Decoder;

/// The compression of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// The blob is the archive.
    None,
    /// gzip, of one member or several.
    Gzip,
    /// Zstandard, of one frame or several.
    Zstd,
}

impl Compression {
    /// Finds the compression by the first bytes of a blob, at least 4 if the blob has as many.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Largest window of a zstd frame, as a binary logarithm, if nothing else is asked for: 128 MiB, as in the program
/// `zstd`. skopeo and podman write zstd:chunked with windows of 32 MiB, also of small layers; only the part of a window
/// that has data takes memory.
pub const WINDOW_LOG: u32 = 27;

/// The blob, with its first bytes, which were read to find the compression, before the rest.
type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

/// Reads the archive in a blob.
pub struct LayerDecoder<R: BufRead> {
    decoder: AnyDecoder<R>,
    compression: Compression,
    window_log: u32,
    has_garbage: bool,
}

enum AnyDecoder<R: BufRead> {
    Plain(Peeked<R>),
    Gzip(Box<GzDecoder<Peeked<R>>>),
    Zstd(Box<Decoder<'static, Peeked<R>>>),
    /// The last member of a gzip file was read.
    Ended(Peeked<R>),
    /// Reading has failed.
    Failed,
}

impl<R: BufRead> std::fmt::Debug for LayerDecoder<R> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("LayerDecoder").field("compression", &self.compression).finish_non_exhaustive()
    }
}

impl<R: BufRead> LayerDecoder<R> {
    /// Begins to read a blob, whose zstd frames may have a window of `2^window_log` bytes.
    ///
    /// # Errors
    ///
    /// If the first bytes cannot be read.
    pub fn new(mut blob: R, window_log: u32) -> io::Result<Self> {
        let mut head = Vec::new();
        (&mut blob).take(4).read_to_end(&mut head)?;
        let compression = Compression::of(&head);
        let blob = Cursor::new(head).chain(blob);
        let decoder = match compression {
            Compression::None => AnyDecoder::Plain(blob),
            Compression::Gzip => AnyDecoder::Gzip(Box::new(GzDecoder::new(blob))),
            Compression::Zstd => {
                let mut decoder = Decoder::with_buffer(blob)?;
                decoder.window_log_max(window_log)?;
                AnyDecoder::Zstd(Box::new(decoder))
            }
        };
        Ok(Self { decoder, compression, window_log, has_garbage: false })
    }

    /// Returns the compression of the blob.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Reads what follows the archive in the blob, so that the blob is read to its end. Returns true if the blob has
    /// bytes other than zeros after the last member of a gzip file.
    ///
    /// # Errors
    ///
    /// If the rest cannot be read.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; 64 << 10];
        while self.read(&mut buffer)? > 0 {}
        if let AnyDecoder::Ended(blob) = &mut self.decoder {
            loop {
                let rest = blob.fill_buf()?;
                let len = rest.len();
                if len == 0 {
                    break;
                }
                self.has_garbage |= rest.iter().any(|byte| *byte != 0);
                blob.consume(len);
            }
        }
        Ok(self.has_garbage)
    }

    /// Says of an error of zstd which limit was exceeded.
    fn explain(&self, error: io::Error) -> io::Error {
        if !error.to_string().contains("too much memory") {
            return error;
        }
        let limit = (1u64 << self.window_log) >> 20;
        let text = format!("a zstd frame has a window of more than {limit} MiB, the limit (--max-window)");
        io::Error::new(error.kind(), text)
    }

    /// Begins the next member of a gzip file. Returns false at the end of the last one.
    fn next_member(&mut self) -> io::Result<bool> {
        let AnyDecoder::Gzip(decoder) = std::mem::replace(&mut self.decoder, AnyDecoder::Failed) else {
            return Ok(false);
        };
        let mut blob = decoder.into_inner();
        // A member begins with 1f 8b. The second byte may not be in the buffer yet.
        let has_member = matches!(blob.fill_buf()?, [0x1f] | [0x1f, 0x8b, ..]);
        self.decoder =
            if has_member { AnyDecoder::Gzip(Box::new(GzDecoder::new(blob))) } else { AnyDecoder::Ended(blob) };
        Ok(has_member)
    }
}

impl<R: BufRead> Read for LayerDecoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let len = match &mut self.decoder {
                AnyDecoder::Plain(blob) => return blob.read(buffer),
                AnyDecoder::Zstd(decoder) => return decoder.read(buffer).map_err(|error| self.explain(error)),
                AnyDecoder::Gzip(decoder) => decoder.read(buffer)?,
                AnyDecoder::Ended(_) => return Ok(0),
                AnyDecoder::Failed => return Err(io::Error::other("reading has failed before")),
            };
            if len > 0 || buffer.is_empty() || !self.next_member()? {
                return Ok(len);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(blob: &[u8]) -> io::Result<(Vec<u8>, bool)> {
        // One byte at a time: members and magic bytes are divided everywhere.
        let mut decoder = LayerDecoder::new(io::BufReader::with_capacity(1, blob), WINDOW_LOG)?;
        let mut bytes = Vec::new();
        decoder.read_to_end(&mut bytes)?;
        Ok((bytes, decoder.drain()?))
    }

    #[test]
    fn members_and_frames_are_joined() {
        let zstd = |bytes: &[u8]| zstd::stream::encode_all(bytes, 0).unwrap();
        let plain = b"a plain archive".to_vec();
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2][..], &zstd(b"ab")].concat();
        for (blob, expected, garbage) in [
            (plain.clone(), &plain[..], false),
            (Vec::new(), b"", false),
            ([gzip(b"ab"), gzip(b""), gzip(b"cd")].concat(), b"abcd", false),
            ([gzip(b"ab"), vec![0; 100]].concat(), b"ab", false),
            ([gzip(b"ab"), b"garbage".to_vec()].concat(), b"ab", true),
            ([zstd(b"ab"), zstd(b"cd")].concat(), b"abcd", false),
            (skippable, b"ab", false),
        ] {
            assert_eq!(decode(&blob).unwrap(), (expected.to_vec(), garbage), "{blob:x?}");
        }
    }

    #[test]
    fn a_truncated_blob_is_an_error() {
        for blob in [gzip(&[7; 1000]), zstd::stream::encode_all(&[7; 1000][..], 0).unwrap()] {
            for len in [5, blob.len() / 2, blob.len() - 1] {
                assert!(decode(&blob[..len]).is_err(), "{len} of {}", blob.len());
            }
            assert!(decode(&blob).is_ok());
        }
    }

    #[test]
    fn a_window_above_the_limit_is_refused() {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&[1; 1000]).unwrap();
        encoder.flush().unwrap();
        let blob = encoder.finish().unwrap();
        let read = |log| {
            let mut bytes = Vec::new();
            LayerDecoder::new(&blob[..], log).and_then(|mut decoder| decoder.read_to_end(&mut bytes))
        };
        assert!(read(26).unwrap_err().to_string().contains("more than 64 MiB"));
        assert_eq!(read(WINDOW_LOG).unwrap(), 1000);
    }
}
