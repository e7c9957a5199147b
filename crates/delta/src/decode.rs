//! Decoding: a frame becomes its objects.

use std::io::{self, BufRead, BufReader, Read};

use libcomposefs_image::Digest;

use crate::error::{DecodeError, FrameRule};
use crate::frame::{Coder, FrameInfo};
use crate::lz4::{self, BlockRebuilder, LZ4_MAX, Lz4Base};
use crate::module;
use crate::read_at::ReadAt;
use crate::rebase::{REBASE_MAX, rebase};
use crate::segment::{SEGMENT_SIZE, segments, segments_of};
use crate::tokens::{self, Rebuilder, TOKENS_MAX};
use crate::zstd_coder;

/// Size of the buffer between the decoder and the receiver of the objects.
const BUFFER_SIZE: usize = 128 << 10;

/// Decodes a frame. `base` opens a base. `sink` receives the objects in pieces: the number of the object in
/// `info.objects`, and its next bytes. It is called once at least for each object, also for an empty one.
///
/// The sizes are checked: no object gets more or fewer bytes than `info` declares if the function succeeds. Digests
/// are not verified: a wrong base gives wrong objects. Memory is bounded by 96 MiB, or by 48 MiB and the bases of
/// [`Coder::Rebased`] and [`Coder::Modules`], or by 64 MiB and the larger of object and base of [`Coder::Lz4`], and by
/// the sizes of the objects and bases where these are smaller.
///
/// # Errors
///
/// [`DecodeError`]
pub fn decode(
    info: &FrameInfo,
    compressed: impl Read,
    base: &mut dyn FnMut(&Digest) -> io::Result<Box<dyn ReadAt>>,
    sink: &mut dyn FnMut(usize, &[u8]) -> io::Result<()>,
) -> Result<(), DecodeError> {
    let fail = |rule| DecodeError::Rule { decoded: 0, size: 0, rule };
    let (size, bases_size) = info.sizes().map_err(fail)?;
    let bases_size = match info.coder {
        Coder::Unknown(number) => return Err(DecodeError::UnknownCoder(number)),
        Coder::Stored | Coder::Zstd if bases_size > 0 => {
            return Err(fail(FrameRule::Sizes("the coder uses no bases, but the frame has some")));
        }
        Coder::Stored | Coder::Zstd => 0,
        Coder::ZstdPrefix => bases_size,
        Coder::Rebased if info.bases.len() == 1 && bases_size.max(size) <= REBASE_MAX => bases_size,
        Coder::Rebased => return Err(fail(FrameRule::Sizes("the coder needs one base, and at most 128 MiB of each"))),
        Coder::Modules if !info.bases.is_empty() && bases_size.max(size) <= REBASE_MAX => bases_size,
        Coder::Modules => {
            return Err(fail(FrameRule::Sizes("the coder needs bases, and at most 128 MiB of them and of objects")));
        }
        Coder::Lz4 if info.bases.len() == 1 && bases_size.max(size) <= LZ4_MAX => bases_size,
        Coder::Lz4 => return Err(fail(FrameRule::Sizes("the coder needs one base, and at most 64 MiB of each"))),
        Coder::Tokens if bases_size.max(size) <= TOKENS_MAX => bases_size,
        Coder::Tokens => return Err(fail(FrameRule::Sizes("the coder takes at most 8 MiB of objects, and of bases"))),
    };
    let input = BufReader::with_capacity(BUFFER_SIZE, compressed.take(info.length));
    let mut objects = ObjectSplitter { info, sink, size, object: 0, in_object: 0, decoded: 0, buffer: Vec::new() };
    let mut input = objects.begin(input)?;
    match info.coder {
        Coder::Stored => objects.copy(&mut input, size)?,
        Coder::Tokens => {
            let bases = read_bases(info, 0, bases_size, base)?;
            let bases = tokens::read_bases_form(&mut input, &bases).map_err(|error| objects.input_error(error))?;
            let form = tokens::read_form(&mut input, &bases, size).map_err(|error| objects.input_error(error))?;
            drop(bases);
            objects.copy(&mut Rebuilder::new(&form), size)?;
        }
        Coder::Lz4 => {
            let digest = info.bases[0].0;
            let failed = |source| DecodeError::Base { digest: Box::new(digest), source };
            let base = base(&digest).map_err(failed)?;
            let mut base = Lz4Base::new(&*base, usize::try_from(bases_size).unwrap_or(usize::MAX));
            objects.lz4(&mut input, &mut base).map_err(|error| base.failed().map_or(error, failed))?;
        }
        _ => {
            let is_changed = matches!(info.coder, Coder::Rebased | Coder::Modules);
            let mut prefix = Vec::new();
            if is_changed {
                prefix = read_bases(info, 0, bases_size, base)?;
                let sizes = info.bases.iter().map(|(_, size)| usize::try_from(*size).unwrap_or(usize::MAX));
                let result = match info.coder {
                    Coder::Rebased => rebase(&mut input, &mut prefix),
                    _ => module::change(&mut input, &mut prefix, sizes),
                };
                if !result.map_err(|error| objects.input_error(error))? {
                    return Err(objects.rule(FrameRule::Map));
                }
            }
            for segment in segments(size, bases_size) {
                if !is_changed {
                    drop(std::mem::take(&mut prefix));
                    prefix = read_bases(info, segment.prefix, segment.prefix_len, base)?;
                }
                let mut decoder = zstd_coder::decoder(&mut input, &prefix, segment.len).map_err(DecodeError::Input)?;
                objects.copy(&mut decoder, segment.len)?;
            }
        }
    }
    let has_more = !input.fill_buf().map_err(DecodeError::Input)?.is_empty();
    match has_more {
        true => Err(objects.rule(FrameRule::Trailing)),
        false if input.get_ref().limit() > 0 => Err(objects.rule(FrameRule::Truncated)),
        false => Ok(()),
    }
}

/// Reads `left` bytes of the concatenated bases after the first `skip`.
fn read_bases(
    info: &FrameInfo,
    mut skip: u64,
    mut left: u64,
    open: &mut dyn FnMut(&Digest) -> io::Result<Box<dyn ReadAt>>,
) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::new();
    for (digest, size) in &info.bases {
        if *size <= skip {
            skip -= size;
            continue;
        }
        let wanted = (size - skip).min(left);
        if wanted > 0 {
            let failed = |source| DecodeError::Base { digest: Box::new(*digest), source };
            let base = open(digest).map_err(failed)?;
            read_part(&*base, skip, wanted, &mut bytes).map_err(failed)?;
        }
        (skip, left) = (0, left - wanted);
    }
    Ok(bytes)
}

/// Appends a part of a base. Memory grows with the bytes that are there, not with the size that is declared.
fn read_part(base: &dyn ReadAt, offset: u64, len: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        let start = bytes.len();
        let piece = usize::try_from((len - done).min(4 << 20)).unwrap_or(usize::MAX);
        bytes.resize(start + piece, 0);
        base.read_at(offset + done, &mut bytes[start..])?;
        done += piece as u64;
    }
    Ok(())
}

/// Divides the content into the objects.
struct ObjectSplitter<'a> {
    info: &'a FrameInfo,
    sink: &'a mut dyn FnMut(usize, &[u8]) -> io::Result<()>,
    /// Size of all objects.
    size: u64,
    /// Number of the object that receives the next byte.
    object: usize,
    /// Number of bytes that the object has received.
    in_object: u64,
    decoded: u64,
    buffer: Vec<u8>,
}

impl ObjectSplitter<'_> {
    /// Gives the empty objects at the beginning.
    fn begin<R>(&mut self, input: R) -> Result<R, DecodeError> {
        self.buffer = vec![0; BUFFER_SIZE.min(usize::try_from(self.size.max(1)).unwrap_or(BUFFER_SIZE))];
        self.end_objects(true).map_err(DecodeError::Output)?;
        Ok(input)
    }

    /// Copies `len` bytes of the content, after which the input must end, unless it is that of the whole frame.
    fn copy(&mut self, input: &mut impl Read, len: u64) -> Result<(), DecodeError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut left = len;
        loop {
            // One byte more than is left, so that the end of a compressed content is seen, and a longer one too.
            let room = usize::try_from(left).unwrap_or(usize::MAX).clamp(1, buffer.len());
            match input.read(&mut buffer[..room]) {
                Ok(0) if left == 0 => break,
                Ok(0) => return Err(self.rule(FrameRule::TooShort)),
                Ok(_) if left == 0 => return Err(self.rule(FrameRule::TooLong)),
                Ok(read) => {
                    left -= read as u64;
                    self.give(&buffer[..read]).map_err(DecodeError::Output)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.input_error(error)),
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Copies the content of a frame of unpacked LZ4 blocks.
    fn lz4(&mut self, input: &mut impl BufRead, base: &mut Lz4Base<'_>) -> Result<(), DecodeError> {
        let (mut blocks, mut prefix) =
            BlockRebuilder::read(input, base, self.size).map_err(|error| self.lz4_error(error))?;
        if !rebase(input, &mut prefix).map_err(|error| self.lz4_error(error))? {
            return Err(self.rule(FrameRule::Map));
        }
        self.expect_room(blocks.before())?;
        for segment in segments_of(lz4::SEGMENT_SIZE, blocks.unpacked_size(), prefix.len() as u64) {
            let prefix = &prefix[segment.prefix as usize..][..segment.prefix_len as usize];
            let mut unpacked = zstd_coder::decoder(&mut *input, prefix, segment.len).map_err(DecodeError::Input)?;
            let mut left = segment.len;
            while left > 0 {
                let mut failed = None;
                let result = blocks.next(&mut unpacked, &mut left, &mut |packed| {
                    self.expect_room(packed).map_err(|error| {
                        failed = Some(error);
                        io::ErrorKind::Other.into()
                    })
                });
                result.map_err(|error| failed.unwrap_or_else(|| self.lz4_error(error)))?;
            }
            if unpacked.read(&mut [0]).map_err(|error| self.lz4_error(error))? > 0 {
                return Err(self.rule(FrameRule::TooLong));
            }
        }
        self.expect_room(blocks.after().map_err(|error| self.lz4_error(error))?)?;
        if self.decoded < self.size { Err(self.rule(FrameRule::TooShort)) } else { Ok(()) }
    }

    /// Gives bytes that may be more than are left.
    fn expect_room(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        if bytes.len() as u64 > self.size - self.decoded {
            return Err(self.rule(FrameRule::TooLong));
        }
        self.give(bytes).map_err(DecodeError::Output)
    }

    fn lz4_error(&self, error: io::Error) -> DecodeError {
        match error.kind() {
            io::ErrorKind::InvalidData => self.rule(FrameRule::Lz4(error.to_string())),
            _ => self.input_error(error),
        }
    }

    fn give(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.decoded += bytes.len() as u64;
        while let (false, Some((_, size))) = (bytes.is_empty(), self.info.objects.get(self.object)) {
            let room = usize::try_from(size - self.in_object).unwrap_or(usize::MAX).min(bytes.len());
            let (piece, rest) = bytes.split_at(room);
            (self.sink)(self.object, piece)?;
            (self.in_object, bytes) = (self.in_object + room as u64, rest);
            self.end_objects(false)?;
        }
        Ok(())
    }

    /// Makes the next object that is not complete the current one. `is_start` tells that the first one has had no call.
    fn end_objects(&mut self, is_start: bool) -> io::Result<()> {
        let mut had_call = !is_start;
        while let Some((_, size)) = self.info.objects.get(self.object) {
            if self.in_object < *size {
                break;
            }
            if !had_call {
                (self.sink)(self.object, &[])?;
            }
            (self.object, self.in_object, had_call) = (self.object + 1, 0, false);
        }
        Ok(())
    }

    fn rule(&self, rule: FrameRule) -> DecodeError {
        DecodeError::Rule { decoded: self.decoded, size: self.size, rule }
    }

    /// The zstd library reports damage as [`io::ErrorKind::Other`], and an early end as an unexpected one.
    fn input_error(&self, error: io::Error) -> DecodeError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.rule(FrameRule::Truncated),
            io::ErrorKind::InvalidData => self.rule(FrameRule::Tokens(error.to_string())),
            io::ErrorKind::Other => self.rule(FrameRule::Compressed(error.to_string())),
            _ => DecodeError::Input(error),
        }
    }
}

const _: () = assert!(SEGMENT_SIZE <= 1 << 27, "a window covers a segment");
