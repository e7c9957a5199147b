//! The ranges of files that a pull reads: neighbouring frames are read together.

use libcomposefs_delta::{Coder, FrameInfo};

use super::select::FrameSelection;
use crate::{FileName, ImageIndex, RefDocument};

/// Bytes that are read over rather than left out.
const GAP_MAX: u64 = 32 << 10;
/// Most bytes of one request.
pub(crate) const REQUEST_MAX: u64 = 2 << 20;

/// A range of a file, with frames in it.
#[derive(Clone, Debug)]
pub(crate) struct FetchJob {
    pub(crate) file: FileName,
    /// Length of the file.
    pub(crate) size: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Frames with their offsets in the file, in order.
    pub(crate) frames: Vec<(u64, FrameInfo)>,
}

impl FetchJob {
    /// A job for a whole file that is one frame.
    pub(crate) fn whole_file(file: FileName, info: FrameInfo) -> Self {
        Self { file, size: info.length, start: 0, end: info.length, frames: vec![(0, info)] }
    }

    pub(crate) fn length(&self) -> u64 {
        self.end - self.start
    }

    /// Returns the number of requests.
    pub(crate) fn requests(&self) -> u64 {
        self.length().div_ceil(REQUEST_MAX)
    }
}

/// Returns the jobs of a selection, in the order of packs and offsets.
pub(crate) fn jobs(index: &ImageIndex, selection: &FrameSelection) -> Vec<FetchJob> {
    let chosen = selection.frames.iter().chain(&selection.image).filter_map(|number| index.frames.get(*number));
    let mut frames: Vec<_> = chosen.collect();
    frames.sort_by_key(|frame| (frame.pack, frame.offset, frame.length));
    let mut jobs: Vec<FetchJob> = Vec::new();
    let mut pack_of_last = None;
    for frame in frames {
        let (Some(pack), Some(info)) = (index.packs.get(frame.pack as usize), index.frame_info(frame)) else {
            continue;
        };
        let (start, end) = (frame.offset, frame.offset.saturating_add(frame.length));
        match jobs.last_mut().filter(|last| {
            pack_of_last == Some(frame.pack)
                && start.saturating_sub(last.end) <= GAP_MAX
                && end.saturating_sub(last.start) <= REQUEST_MAX
        }) {
            Some(last) => {
                last.end = last.end.max(end);
                last.frames.push((start, info));
            }
            None => {
                let file = FileName::Pack(pack.sha256);
                jobs.push(FetchJob { file, size: pack.size, start, end, frames: vec![(start, info)] });
            }
        }
        pack_of_last = Some(frame.pack);
    }
    jobs
}

/// Returns the job for the file of the metadata image.
pub(crate) fn metadata_job(document: &RefDocument) -> FetchJob {
    let (length, size) = (document.metadata.size, document.image.size);
    let coder = if length == size { Coder::Stored } else { Coder::Zstd };
    let objects = vec![(document.image.digest, size)];
    let info = FrameInfo { coder, length, objects, bases: Vec::new() };
    FetchJob::whole_file(FileName::Image(document.metadata.sha256), info)
}
