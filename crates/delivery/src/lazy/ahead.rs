//! Frames that are fetched together with one that is needed: when a program reads files in their order, as copying and
//! indexing do, the next frames are needed soon.

use std::time::Duration;

/// Frames that one fetch takes at most.
const FRAMES_MAX: usize = 64;
/// Compressed bytes that one fetch takes at most, beside its first frame.
const BYTES_MAX: u64 = 16 << 20;
/// Compressed bytes that the first groups take at most, until the speed of the remote is known.
const BYTES_FIRST: u64 = 1 << 20;
/// Time that the frames which are not needed yet may take.
const TIME: Duration = Duration::from_secs(1);
/// Frames that a reader may pass over: their objects are here, or of files that it does not read.
const GAP: usize = 4;

/// The size of the next group of frames, by what was fetched before.
#[derive(Debug)]
pub(super) struct FrameReadAhead {
    /// The frame after the last group.
    next: usize,
    /// Frames in the last group.
    window: usize,
    /// Bytes that arrive in [`TIME`].
    bytes: u64,
}

/// Limits of a group of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AheadLimits {
    /// Number of frames, the first one included: at least 1.
    pub(super) frames: usize,
    /// Number of compressed bytes, without those of the first frame.
    pub(super) bytes: u64,
}

impl FrameReadAhead {
    pub(super) fn new() -> Self {
        Self { next: 0, window: 0, bytes: BYTES_FIRST }
    }

    /// Returns the limits of the group that begins with a frame: twice the last group if the reader has come to its
    /// end, otherwise this frame alone.
    pub(super) fn limits(&self, frame: usize) -> AheadLimits {
        let continues = self.window > 0 && (self.next..self.next + GAP).contains(&frame);
        let frames = if continues { (self.window * 2).min(FRAMES_MAX) } else { 1 };
        AheadLimits { frames, bytes: self.bytes }
    }

    /// Records the group that is fetched now.
    pub(super) fn begin(&mut self, group: &[usize]) {
        if let Some(last) = group.last() {
            (self.next, self.window) = (last + 1, group.len());
        }
    }

    /// Records the time that a group has taken.
    pub(super) fn end(&mut self, bytes: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        self.bytes = (bytes.saturating_mul(TIME.as_micros() as u64) / micros).min(BYTES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_grow_as_long_as_a_reader_continues() {
        let mut ahead = FrameReadAhead::new();
        let mut take = |first: usize| {
            let frames = ahead.limits(first).frames;
            ahead.begin(&(first..first + frames).collect::<Vec<_>>());
            frames
        };
        // The first frame of a pack is not the next of anything.
        assert_eq!([take(0), take(1), take(3), take(7)], [1, 2, 4, 8]);
        // Three frames are passed over, then too many.
        assert_eq!([take(18), take(40), take(41)], [16, 1, 2]);
        let mut frame = 43;
        for _ in 0..10 {
            frame += take(frame);
        }
        assert_eq!(take(frame), FRAMES_MAX);
        assert_eq!(take(0), 1);
    }

    #[test]
    fn a_slow_remote_gives_few_bytes_ahead() {
        let mut ahead = FrameReadAhead::new();
        assert_eq!(ahead.limits(0).bytes, BYTES_FIRST);
        ahead.end(200_000, Duration::from_secs(2));
        assert_eq!(ahead.limits(0).bytes, 100_000);
        ahead.end(100 << 20, Duration::from_secs(1));
        assert_eq!(ahead.limits(0).bytes, BYTES_MAX);
        ahead.end(0, Duration::ZERO);
        assert_eq!(ahead.limits(0).bytes, 0);
    }
}
