//! Worker threads: one thread produces jobs, several run them.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use crate::mutex::lock;
use libcomposefs_image::threads::with_helpers;
use libcomposefs_sys::limits::open_files_max;

/// Upper bound of queued jobs. The limit of open files lowers it, since each job may hold a directory open.
const WAITING: usize = 64;

/// Hands jobs to the worker threads.
pub struct Sender<'a, J, B> {
    channel: SyncSender<J>,
    work: &'a (dyn Fn(J, &mut B) + Sync),
    buffer: B,
}

impl<J, B> Sender<'_, J, B> {
    /// Queues a job, or runs it on the calling thread if the queue is full.
    pub fn send(&mut self, job: J) {
        match self.channel.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => (self.work)(job, &mut self.buffer),
        }
    }
}

/// Calls `find`, which sends jobs, and runs each job with `work` on one of `threads` threads. Each thread has a
/// buffer of its own. Returns when all jobs are done.
pub fn run<J: Send, B: Default, R>(
    threads: NonZeroUsize,
    work: impl Fn(J, &mut B) + Sync,
    find: impl FnOnce(&mut Sender<'_, J, B>) -> R,
) -> R {
    let (channel, jobs) = sync_channel(WAITING.min(open_files_max() / 16));
    let jobs = Mutex::new(jobs);
    let help = || do_all(&jobs, &work);
    with_helpers(threads, help, || {
        let mut sender = Sender { channel, work: &work, buffer: B::default() };
        let found = find(&mut sender);
        drop(sender);
        help();
        found
    })
}

fn do_all<J, B: Default>(jobs: &Mutex<Receiver<J>>, work: &(impl Fn(J, &mut B) + Sync)) {
    let mut buffer = B::default();
    loop {
        let job = lock(jobs).recv();
        let Ok(job) = job else { return };
        work(job, &mut buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn every_job_is_done_once() {
        for threads in [1, 2, 5] {
            let sum = AtomicU64::new(0);
            let work = |job: u64, _: &mut ()| {
                sum.fetch_add(job, Ordering::Relaxed);
            };
            let found = run(NonZeroUsize::new(threads).unwrap(), work, |sender| {
                (1..=1000).for_each(|job| sender.send(job));
                7
            });
            assert_eq!((sum.into_inner(), found), (500_500, 7));
        }
    }
}
