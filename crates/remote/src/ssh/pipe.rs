//! Pipes to another program, with a limit for the time without progress.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Time after which a wait looks for an interrupt.
const TICK: Duration = Duration::from_millis(100);

/// One end of a pipe.
#[derive(Debug)]
pub(super) struct TimedPipe {
    file: File,
    limit: Duration,
    interrupt: Option<Arc<AtomicBool>>,
}

impl TimedPipe {
    pub(super) fn new(pipe: OwnedFd, limit: Duration, interrupt: Option<Arc<AtomicBool>>) -> io::Result<Self> {
        let flags = fcntl_getfl(&pipe)?;
        fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
        Ok(Self { file: File::from(pipe), limit, interrupt })
    }

    /// Repeats an access until it need not wait.
    fn retry(&self, ready: PollFlags, mut access: impl FnMut(&File) -> io::Result<usize>) -> io::Result<usize> {
        let start = Instant::now();
        loop {
            match access(&self.file) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => return other,
            }
            if self.interrupt.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                return Err(io::Error::other("interrupted"));
            }
            if start.elapsed() >= self.limit {
                let reason = format!("the other side is silent for {} s", self.limit.as_secs_f32());
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            let tick = Timespec::try_from(TICK).map_err(io::Error::other)?;
            match poll(&mut [PollFd::from_borrowed_fd(self.file.as_fd(), ready)], Some(&tick)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Read for TimedPipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.retry(PollFlags::IN, |mut file| file.read(buffer))
    }
}

impl Write for TimedPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.retry(PollFlags::OUT, |mut file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
