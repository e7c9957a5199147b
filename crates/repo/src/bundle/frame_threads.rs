//! The frames of a bundle on several threads: one thread reads the bundle, and all of them decode frames.

use std::io::{Cursor, Read};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_content::workers;
use libcomposefs_delta::{Coder, FrameInfo};
use libcomposefs_image::Digest;

use crate::RepositoryError;

/// Bytes that all frames which wait or are decoded on helper threads may need together. A frame that finds no room is
/// decoded by the reading thread, straight from the bundle.
const ROOM: u64 = 64 << 20;

/// Decodes one frame, given the offset of its compressed bytes and these bytes.
pub(super) type FrameWork<'a> = dyn Fn(&FrameInfo, u64, &mut dyn Read) -> Result<(), RepositoryError> + Sync + 'a;

/// A frame in memory that waits to be decoded.
struct FrameJob {
    frame: FrameInfo,
    at: u64,
    compressed: Vec<u8>,
    needs: u64,
}

/// What all threads share.
struct SharedState<'w> {
    work: &'w FrameWork<'w>,
    used: AtomicU64,
    /// The failure with the lowest offset.
    failure: Mutex<Option<(u64, RepositoryError)>>,
    has_failed: AtomicBool,
}

/// Takes the frames of a bundle, in its order.
pub(super) struct FrameQueue<'q, 's, 'w> {
    sender: &'q mut workers::Sender<'s, FrameJob, ()>,
    state: &'q SharedState<'w>,
    is_alone: bool,
}

/// Calls `read`, which reads a bundle and queues its frames, and decodes these on `threads` threads with `work`.
///
/// The error is that of one thread which does everything in order: a frame that fails hides all after it, and `read`
/// fails at what comes after all frames that it has queued.
pub(super) fn run<R>(
    threads: NonZeroUsize,
    work: &FrameWork<'_>,
    read: impl FnOnce(&mut FrameQueue<'_, '_, '_>) -> Result<R, RepositoryError>,
) -> Result<R, RepositoryError> {
    let state = SharedState { work, used: AtomicU64::new(0), failure: Mutex::default(), has_failed: false.into() };
    let decode = |job: FrameJob, _: &mut ()| state.decode(job);
    let result = workers::run(threads, decode, |sender| {
        read(&mut FrameQueue { sender, state: &state, is_alone: threads == NonZeroUsize::MIN })
    });
    match into_inner(state.failure) {
        Some((_, error)) => Err(error),
        None => result,
    }
}

impl FrameQueue<'_, '_, '_> {
    /// Returns whether a frame has failed, so that the rest of the bundle does not matter.
    pub(super) fn has_failed(&self) -> bool {
        self.state.has_failed.load(Ordering::Relaxed)
    }

    /// Takes a frame, whose compressed bytes come next in `input`.
    pub(super) fn add(&mut self, frame: FrameInfo, at: u64, input: &mut impl Read) -> Result<(), RepositoryError> {
        let needs = needed(&frame);
        if self.is_alone || !self.state.reserve(needs) {
            return (self.state.work)(&frame, at, input);
        }
        let mut compressed = Vec::new();
        if input.take(frame.length).read_to_end(&mut compressed).is_err() {
            // The decoder reports it.
            self.state.release(needs);
            return (self.state.work)(&frame, at, &mut Cursor::new(compressed).chain(input));
        }
        self.sender.send(FrameJob { frame, at, compressed, needs });
        Ok(())
    }
}

impl SharedState<'_> {
    fn reserve(&self, needs: u64) -> bool {
        let reserved = |used: u64| used.checked_add(needs).filter(|used| *used <= ROOM);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserved).is_ok()
    }

    fn release(&self, needs: u64) {
        self.used.fetch_sub(needs, Ordering::Relaxed);
    }

    fn decode(&self, job: FrameJob) {
        let FrameJob { frame, at, compressed, needs } = job;
        if !self.is_hidden(at)
            && let Err(error) = (self.work)(&frame, at, &mut Cursor::new(&compressed))
        {
            self.fail(at, error);
        }
        drop(compressed);
        self.release(needs);
    }

    /// Returns whether a frame before this one has failed.
    fn is_hidden(&self, at: u64) -> bool {
        self.has_failed.load(Ordering::Relaxed) && lock(&self.failure).as_ref().is_some_and(|(first, _)| *first < at)
    }

    fn fail(&self, at: u64, error: RepositoryError) {
        let mut failure = lock(&self.failure);
        if failure.as_ref().is_none_or(|(first, _)| at < *first) {
            *failure = Some((at, error));
        }
        self.has_failed.store(true, Ordering::Relaxed);
    }
}

/// Returns an upper bound of the bytes that it takes to keep and to decode a frame: the compressed bytes, the objects,
/// the window of the decoder, which is not larger, and the bases.
fn needed(frame: &FrameInfo) -> u64 {
    let sum = |list: &[(Digest, u64)]| list.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
    let contents = sum(&frame.objects).saturating_mul(2).saturating_add(sum(&frame.bases));
    // Their blocks have many times that unpacked: such frames are decoded one by one.
    let contents = if frame.coder == Coder::Lz4 { contents.saturating_add(ROOM) } else { contents };
    frame.length.saturating_add(contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use libcomposefs_image::{Algorithm, verity};

    fn frame(length: u64, size: u64) -> FrameInfo {
        let objects = vec![(verity::digest(Algorithm::Sha256, b""), size)];
        FrameInfo { coder: Coder::Stored, length, objects, bases: Vec::new() }
    }

    fn failed(offset: u64) -> RepositoryError {
        RepositoryError::Bundle { offset, rule: "failed".into() }
    }

    #[test]
    fn the_first_failure_counts_whatever_the_threads_do() {
        for threads in [1, 2, 3, 8] {
            let (threads, done) = (NonZeroUsize::new(threads).unwrap(), Mutex::new(Vec::new()));
            let work = |_: &FrameInfo, at: u64, input: &mut dyn Read| {
                let mut bytes = Vec::new();
                input.read_to_end(&mut bytes).unwrap();
                // The later of two failures comes first.
                let pause = if at == 40 { 20 } else { 0 };
                std::thread::sleep(std::time::Duration::from_millis(pause));
                lock(&done).push(at);
                if at == 40 || at >= 60 { Err(failed(at)) } else { Ok(()) }
            };
            let error = run(threads, &work, |queue| {
                for at in 0..100 {
                    if queue.has_failed() {
                        break;
                    }
                    queue.add(frame(3, 3), at, &mut &b"abc"[..])?;
                }
                Err::<(), _>(failed(100))
            });
            assert!(matches!(error, Err(RepositoryError::Bundle { offset: 40, .. })), "{threads}: {error:?}");
            let mut done = into_inner(done);
            done.sort_unstable();
            assert!(done.starts_with(&(0..=40).collect::<Vec<_>>()), "{threads}: {done:?}");
        }
    }

    #[test]
    fn frames_in_memory_are_bounded() {
        let (most, now) = (AtomicU64::new(0), AtomicU64::new(0));
        let threads = NonZeroUsize::new(2).unwrap();
        let work = |frame: &FrameInfo, _: u64, input: &mut dyn Read| {
            // What waits is not known here; what is decoded at the same time is a part of it.
            let needs = needed(frame);
            let used = if needs > ROOM { 0 } else { now.fetch_add(needs, Ordering::SeqCst) + needs };
            most.fetch_max(used, Ordering::SeqCst);
            std::io::copy(&mut input.take(frame.length), &mut std::io::sink()).unwrap();
            if needs <= ROOM {
                now.fetch_sub(needs, Ordering::SeqCst);
            }
            Ok(())
        };
        run(threads, &work, |queue| {
            for at in 0..20 {
                queue.add(frame(1 << 20, 15 << 20), at, &mut std::io::repeat(0))?;
                assert!(queue.state.used.load(Ordering::Relaxed) <= ROOM);
            }
            // Too large for any memory: it is decoded from the input.
            queue.add(frame(1, u64::MAX), 20, &mut &b"x"[..])
        })
        .unwrap();
        let most = most.into_inner();
        // The reading thread may decode one more.
        assert!(most > 0 && most <= ROOM + needed(&frame(1 << 20, 15 << 20)), "{most}");
    }
}
