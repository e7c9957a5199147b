//! Encoding: objects become frames, on several threads.

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::sync::Mutex;

use libcomposefs_image::{Digest, in_order};

use crate::frame::{Coder, FrameInfo};
use crate::plan::FramePlan;
use crate::read_at::ReadAt;
use crate::rebase::{REBASE_MAX, rebased};
use crate::segment::{PREFIX_MAX, SEGMENT_SIZE, segments};
use crate::{lz4, module, tokens, zstd_coder};

/// The work that is spent on small frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effort {
    /// A tenth of the work of the other, for a fifth more bytes.
    #[default]
    Default,
    /// The smallest frames, in bounded time.
    Best,
}

impl Effort {
    fn level(self) -> i32 {
        match self {
            Effort::Default => 12,
            Effort::Best => 18,
        }
    }
}

/// A file that keeps a large frame until its length is known.
pub trait SpoolFile: Read + Write + Seek + Send {}

impl<T: Read + Write + Seek + Send> SpoolFile for T {}

/// Settings of [`encode_frames`].
#[derive(Clone, Copy)]
pub struct EncodeOptions<'a> {
    /// The work that is spent.
    pub effort: Effort,
    /// Number of threads.
    pub threads: NonZeroUsize,
    /// Makes a file for a frame of more than 32 MiB. Without it, such a frame is kept in memory.
    pub spool: Option<&'a (dyn Fn() -> io::Result<Box<dyn SpoolFile>> + Sync)>,
}

/// Opens objects.
type OpenObject<'a> = dyn Fn(&Digest) -> io::Result<Box<dyn ReadAt>> + Sync + 'a;

/// Encodes frames in parallel, and passes them to `emit` in the order of `plans`: the description, and the compressed
/// bytes. The bytes do not depend on the number of threads.
///
/// # Errors
///
/// The first error of `open`, `emit` or the encoder.
pub fn encode_frames(
    plans: &[FramePlan],
    options: &EncodeOptions<'_>,
    open: &OpenObject<'_>,
    emit: &mut (dyn FnMut(&FrameInfo, &mut dyn Read) -> io::Result<()> + Send),
) -> io::Result<()> {
    let failed = Mutex::new(None);
    let encoder = DeltaEncoder::new(options.effort);
    let make = |number: u64, frame: &mut Option<io::Result<EncodedFrame>>| {
        let plan = usize::try_from(number).ok().and_then(|number| plans.get(number));
        *frame = plan.map(|plan| encoder.encode_plan(plan, options, open));
        frame.is_some()
    };
    in_order(options.threads, make, |frame| {
        let result = match frame.take() {
            Some(Ok(mut frame)) => emit(&frame.info, &mut *frame.bytes),
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        let is_ok = result.is_ok();
        *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = result.err();
        is_ok
    });
    failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
}

/// A frame that is complete.
struct EncodedFrame {
    info: FrameInfo,
    bytes: Box<dyn SpoolFile>,
}

/// Encodes contents with a given effort.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeltaEncoder {
    effort: Effort,
}

impl DeltaEncoder {
    /// Makes an encoder.
    #[must_use]
    pub fn new(effort: Effort) -> Self {
        Self { effort }
    }

    /// Encodes a content with its bases in memory.
    ///
    /// # Errors
    ///
    /// If the encoder fails.
    pub fn encode(&self, content: &[u8], bases: &[&[u8]]) -> io::Result<(Coder, Vec<u8>)> {
        let base_sizes: Vec<_> = bases.iter().map(|base| base.len()).collect();
        let bytes;
        let base = match bases {
            [base] => base,
            _ => {
                bytes = bases.concat();
                bytes.as_slice()
            }
        };
        self.encode_with(content, &[content.len()], base, &base_sizes)
    }

    fn encode_with(
        &self,
        content: &[u8],
        sizes: &[usize],
        bases: &[u8],
        base_sizes: &[usize],
    ) -> io::Result<(Coder, Vec<u8>)> {
        let fits = bases.len().max(content.len()) as u64 <= REBASE_MAX;
        let may_rebase = fits && sizes.len() == 1 && base_sizes.len() == 1;
        if may_rebase
            && let Some(bytes) = lz4::encode(content, bases, self.effort.level())?
            && bytes.len() < content.len() / 4 * 3
        {
            return Ok((Coder::Lz4, bytes));
        }
        if may_rebase && let Some((moved, head)) = rebased(content, bases)? {
            return Ok((Coder::Rebased, self.encode_changed(head, content, &moved)?));
        }
        if fits && let Some((changed, head)) = module::changed(content, sizes, bases, base_sizes)? {
            return Ok((Coder::Modules, self.encode_changed(head, content, &changed)?));
        }
        let tokens = tokens::encode(content, bases, self.effort.level())?;
        match tokens {
            // A delta of compressed bytes is hardly smaller than they are: it need not be tried.
            Some(bytes) if bytes.len() < content.len() / 4 => Ok((Coder::Tokens, bytes)),
            Some(bytes) => {
                let plain = self.encode_segments(content, bases)?;
                Ok(if bytes.len() < plain.1.len() { (Coder::Tokens, bytes) } else { plain })
            }
            None => self.encode_segments(content, bases),
        }
    }

    fn encode_changed(&self, mut bytes: Vec<u8>, content: &[u8], base: &[u8]) -> io::Result<Vec<u8>> {
        for segment in content.chunks(SEGMENT_SIZE as usize) {
            zstd_coder::compress(segment, base, self.effort.level(), &mut bytes)?;
        }
        Ok(bytes)
    }

    fn encode_segments(&self, content: &[u8], bases: &[u8]) -> io::Result<(Coder, Vec<u8>)> {
        let coder = if bases.is_empty() { Coder::Zstd } else { Coder::ZstdPrefix };
        let (mut bytes, mut rest) = (Vec::new(), content);
        for segment in segments(content.len() as u64, bases.len() as u64) {
            let (piece, after) = rest.split_at(segment.len as usize);
            let prefix = &bases[segment.prefix as usize..][..segment.prefix_len as usize];
            zstd_coder::compress(piece, prefix, self.effort.level(), &mut bytes)?;
            rest = after;
        }
        Ok(if bytes.len() < content.len() { (coder, bytes) } else { (Coder::Stored, content.to_vec()) })
    }

    fn encode_plan(
        &self,
        plan: &FramePlan,
        options: &EncodeOptions<'_>,
        open: &OpenObject<'_>,
    ) -> io::Result<EncodedFrame> {
        let (size, bases_size) = (plan.size(), plan.bases_size());
        let mut info =
            FrameInfo { coder: Coder::Stored, length: 0, objects: plan.objects.clone(), bases: plan.bases.clone() };
        let may_rebase = plan.objects.len() == 1 && plan.bases.len() == 1 && bases_size.max(size) <= REBASE_MAX;
        if may_rebase || (size <= SEGMENT_SIZE && bases_size <= PREFIX_MAX) {
            let content = read_range(&plan.objects, 0, size, open)?;
            let bases = read_range(&plan.bases, 0, bases_size, open)?;
            let sizes =
                |list: &[(Digest, u64)]| -> Vec<usize> { list.iter().map(|(_, size)| *size as usize).collect() };
            let (coder, bytes) = self.encode_with(&content, &sizes(&plan.objects), &bases, &sizes(&plan.bases))?;
            (info.coder, info.length) = (coder, bytes.len() as u64);
            if matches!(coder, Coder::Stored | Coder::Zstd) {
                info.bases.clear();
            }
            return Ok(EncodedFrame { info, bytes: Box::new(Cursor::new(bytes)) });
        }
        info.coder = if bases_size == 0 { Coder::Zstd } else { Coder::ZstdPrefix };
        let mut spool: Box<dyn SpoolFile> = match options.spool {
            Some(spool) => spool()?,
            None => Box::new(Cursor::new(Vec::new())),
        };
        let mut offset = 0;
        for segment in segments(size, bases_size) {
            let content = read_range(&plan.objects, offset, segment.len, open)?;
            let prefix = read_range(&plan.bases, segment.prefix, segment.prefix_len, open)?;
            let mut bytes = Vec::new();
            zstd_coder::compress(&content, &prefix, self.effort.level(), &mut bytes)?;
            spool.write_all(&bytes)?;
            (offset, info.length) = (offset + segment.len, info.length + bytes.len() as u64);
        }
        spool.seek(SeekFrom::Start(0))?;
        Ok(EncodedFrame { info, bytes: spool })
    }
}

/// Reads a part of concatenated objects.
fn read_range(list: &[(Digest, u64)], mut skip: u64, mut left: u64, open: &OpenObject<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (digest, size) in list {
        if *size <= skip {
            skip -= size;
            continue;
        }
        let wanted = (size - skip).min(left);
        if wanted > 0 {
            let start = bytes.len();
            bytes.resize(start + usize::try_from(wanted).map_err(|_| io::ErrorKind::OutOfMemory)?, 0);
            open(digest)?.read_at(skip, &mut bytes[start..])?;
        }
        (skip, left) = (0, left - wanted);
    }
    Ok(bytes)
}
