//! Frames are written to packs (`docs/format/remote.md`, section 4).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use libcomposefs_delta::FrameInfo;

use crate::{FileEntry, HashingReader};

/// A pack of this size gets no more frames, in bytes.
pub(crate) const PACK_FULL: u64 = 32 << 20;
/// A pack of at least half of [`PACK_FULL`] gets no frame that would make it larger than this, in bytes.
const PACK_MAX: u64 = 64 << 20;

/// Makes an empty temporary file without a name.
pub type MakeFile<'a> = &'a (dyn Fn() -> io::Result<File> + Sync);

/// A frame in a pack.
#[derive(Clone, Debug)]
pub(crate) struct PackedFrame {
    pub(crate) offset: u64,
    pub(crate) info: FrameInfo,
}

/// A pack that is complete.
#[derive(Debug)]
pub(crate) struct FinishedPack {
    pub(crate) entry: FileEntry,
    pub(crate) file: File,
    pub(crate) frames: Vec<PackedFrame>,
}

/// Divides frames into packs. The division depends only on the frames.
pub(crate) struct PackWriter<'a> {
    make_file: MakeFile<'a>,
    open: Option<(HashingReader<File>, Vec<PackedFrame>)>,
}

impl<'a> PackWriter<'a> {
    pub(crate) fn new(make_file: MakeFile<'a>) -> Self {
        Self { make_file, open: None }
    }

    /// Adds a frame, and returns the pack that is complete without it, if there is one.
    pub(crate) fn add(&mut self, info: &FrameInfo, bytes: &mut dyn Read) -> io::Result<Option<FinishedPack>> {
        let size = self.open.as_ref().map_or(0, |(out, _)| out.length());
        let is_full = size >= PACK_FULL || (size >= PACK_FULL / 2 && size.saturating_add(info.length) > PACK_MAX);
        let finished = if is_full { self.finish()? } else { None };
        let (out, frames) = match &mut self.open {
            Some(open) => open,
            None => self.open.insert((HashingReader::new((self.make_file)()?), Vec::new())),
        };
        frames.push(PackedFrame { offset: out.length(), info: info.clone() });
        match io::copy(&mut bytes.take(info.length), out)? {
            copied if copied == info.length => Ok(finished),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Ends the last pack.
    pub(crate) fn finish(&mut self) -> io::Result<Option<FinishedPack>> {
        let Some((out, frames)) = self.open.take() else { return Ok(None) };
        let (sha256, size, mut file) = out.finish();
        file.seek(SeekFrom::Start(0))?;
        Ok(Some(FinishedPack { entry: FileEntry { sha256, size }, file, frames }))
    }
}

#[cfg(test)]
mod tests {
    use libcomposefs_delta::Coder;
    use libcomposefs_image::Digest;

    use super::*;

    /// Returns the sizes of the packs of frames of these lengths.
    fn packs(lengths: &[u64]) -> Vec<u64> {
        let make_file = || tempfile::tempfile();
        let mut writer = PackWriter::new(&make_file);
        let mut finished = Vec::new();
        for &length in lengths {
            let objects = vec![(Digest::from_hex("ab".repeat(32)).unwrap(), length)];
            let info = FrameInfo { coder: Coder::Stored, length, objects, bases: Vec::new() };
            finished.extend(writer.add(&info, &mut io::repeat(7)).unwrap());
        }
        finished.extend(writer.finish().unwrap());
        let mut offsets = finished.iter().flat_map(|pack| pack.frames.iter().map(|frame| frame.offset));
        assert_eq!(offsets.next().unwrap_or(0), 0);
        finished.iter().map(|pack| pack.entry.size).collect()
    }

    #[test]
    fn packs_have_sixteen_to_sixty_four_megabytes() {
        const MB: u64 = 1 << 20;
        assert!(packs(&[]).is_empty());
        assert_eq!(packs(&[1, 2]), [3]);
        assert_eq!(packs(&[MB; 70]), [32 * MB, 32 * MB, 6 * MB]);
        assert_eq!(packs(&[15 * MB, 80 * MB, 1]), [95 * MB, 1]);
        assert_eq!(packs(&[17 * MB, 50 * MB, 1]), [17 * MB, 50 * MB, 1]);
    }
}
