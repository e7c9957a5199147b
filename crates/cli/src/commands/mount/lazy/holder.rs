//! The holder of a lazy mount by the kernel: keeps the devices of the layers, starts the worker again when it ends, and
//! answers for objects that cannot be read.
//!
//! It has one thread and uses no network, so that little can end it. If the worker ends, the kernel keeps the lookups
//! that have no answer: the next worker has them sent again (`FUSE_NOTIFY_RESEND`), and no program sees an error. The
//! device is not cloned for that reason: with a clone the kernel would end its lookups by an error.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::exit;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use libcomposefs_fuse::{AnsweredRequest, FuseSession, LookupLayer, MountedBy, NoObject};
use libcomposefs_sys::background::Report;
use libcomposefs_sys::child::{ForkedPart, ForkedProcess, fork, reset_signals};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitStatus, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::worker::{COMPLETE, WorkerStart, WorkerTask};
use crate::commands::fuse::{harden, leave_namespace, unmount_in};
use crate::commands::remote::{LazyPlace, LazyRestarts};

/// Signals that end the mount.
const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Time within which a worker that ends was no success: the next one starts later each time.
const QUICK: Duration = Duration::from_secs(1);
/// Delay after the first worker that ended quickly, and the longest one.
const DELAY: Duration = Duration::from_millis(5);
const DELAY_MAX: Duration = Duration::from_millis(500);

/// Time in which the worker of an overlay that was unmounted ends by itself.
const WORKER_ENDS: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// A holder that is about to begin.
pub(super) struct Holder<'a> {
    pub(super) task: WorkerTask<'a>,
    pub(super) target: PathBuf,
    /// Gives the device number of the overlay when it is mounted.
    pub(super) mounted: UnixStream,
    pub(super) report: Report,
}

/// A worker that runs.
struct RunningWorker {
    process: ForkedProcess,
    started: Instant,
}

/// The state of a holder.
struct Holding<'a> {
    task: WorkerTask<'a>,
    target: PathBuf,
    /// The device of the trigger; `None` if no worker can go on with it.
    trigger: Option<FuseSession>,
    /// The device of the reason; `None` in the worker.
    reason: Option<FuseSession>,
    /// Tells the caller of the program that all is ready.
    report: Option<Report>,
    signals: UnixStream,
    handlers: Option<UnixStream>,
    mounted: Option<UnixStream>,
    place: LazyPlace,
    worker: Option<RunningWorker>,
    restarts: LazyRestarts,
    /// Number of workers, one after the other, that ended quickly.
    quick: u32,
    /// Time of the next start, if no worker runs.
    next: Option<Instant>,
}

impl<'a> Holder<'a> {
    /// Runs until the overlay is unmounted, or the image is complete.
    pub(super) fn run(self, trigger: OwnedFd, reason: OwnedFd) -> anyhow::Result<()> {
        let begin =
            |device| FuseSession::begin(device, &LookupLayer::new(NoObject)).map_err(|error| anyhow!("{error}"));
        let (trigger, reason) = (begin(trigger)?, begin(reason)?);
        reason.never_block().map_err(|error| anyhow!("{error}"))?;
        let _lease = self.task.lease()?;
        let place = LazyPlace::new().context("cannot make the socket for `composefs status`")?;
        let (signals, handlers) = UnixStream::pair().context("cannot create a socket")?;
        harden(MountedBy::Kernel);
        // The process must not keep the namespace of the overlay.
        let home = leave_namespace();
        let mut holding = Holding {
            task: self.task,
            target: self.target,
            trigger: Some(trigger),
            reason: Some(reason),
            report: Some(self.report),
            signals,
            handlers: Some(handlers),
            mounted: Some(self.mounted),
            place,
            worker: None,
            restarts: LazyRestarts::default(),
            quick: 0,
            next: None,
        };
        holding.start_first()?;
        holding.watch_signals().context("cannot handle signals")?;
        if let Some(report) = holding.report.take() {
            report.succeed()?;
        }
        match holding.hold() {
            Ok(HoldingEnd::Unmounted) => {}
            Ok(HoldingEnd::Complete) => {
                holding.place.leave();
                return Ok(());
            }
            Ok(HoldingEnd::Signal) => {
                let number = holding.place.number();
                let _ = unmount_in(home, MountedBy::Kernel, &holding.target, number);
            }
            Err(error) => {
                holding.end();
                return Err(error);
            }
        }
        holding.end();
        Ok(())
    }
}

/// The reason why a holder ends.
enum HoldingEnd {
    Unmounted,
    /// All objects are here, and no layer is asked any more.
    Complete,
    Signal,
}

impl Holding<'_> {
    fn start_first(&mut self) -> anyhow::Result<()> {
        let (mut ready, theirs) = UnixStream::pair().context("cannot create a socket")?;
        self.start(Some(theirs))?;
        if matches!(ready.read(&mut [0]), Ok(1)) {
            return Ok(());
        }
        let ended = self.worker.take().map(|worker| worker.process.wait());
        match ended {
            // The worker has printed the reason.
            Some(Ok(status)) => exit(status.exit_status().filter(|status| *status != 0).unwrap_or(1)),
            _ => bail!("the worker of {} ended before it was ready", self.target.display()),
        }
    }

    /// Starts a worker. The first one gets a socket, and writes to it when it is ready.
    fn start(&mut self, ready: Option<UnixStream>) -> anyhow::Result<()> {
        let Some(trigger) = &self.trigger else { return Ok(()) };
        match fork().context("cannot start the worker")? {
            ForkedPart::Parent(process) => {
                self.worker = Some(RunningWorker { process, started: Instant::now() });
                Ok(())
            }
            ForkedPart::Child => {
                reset_signals(&SIGNALS);
                // The reason must end with the holder, not with this process.
                (self.reason, self.report, self.mounted) = (None, None, None);
                let start = WorkerStart {
                    ready,
                    restarts: self.restarts.clone(),
                    listener: self.place.listener(),
                    ended: None,
                };
                let status = self.task.work(trigger, start).unwrap_or_else(|error| {
                    tell!("composefs: {error:#}");
                    1
                });
                exit(status)
            }
        }
    }

    fn watch_signals(&mut self) -> io::Result<()> {
        let Some(handlers) = self.handlers.take() else { return Ok(()) };
        for signal in SIGNALS {
            signal_hook::low_level::pipe::register(signal, handlers.try_clone()?)?;
        }
        self.handlers = Some(handlers);
        Ok(())
    }

    /// Holds the mount until there is a reason to end.
    fn hold(&mut self) -> anyhow::Result<HoldingEnd> {
        loop {
            let [reason, signal, mounted, worker] = self.wait()?;
            if signal {
                return Ok(HoldingEnd::Signal);
            }
            if mounted {
                self.note_mounted();
            }
            if reason {
                let Some(reason) = &self.reason else { return Ok(HoldingEnd::Unmounted) };
                let answered = reason.answer_next(&LookupLayer::new(NoObject)).map_err(|error| anyhow!("{error}"))?;
                if answered == AnsweredRequest::Unmounted {
                    return Ok(HoldingEnd::Unmounted);
                }
            }
            if worker && self.worker_has_ended() == Some(COMPLETE) {
                return Ok(HoldingEnd::Complete);
            }
            if self.next.is_some_and(|next| next <= Instant::now()) {
                self.next = None;
                if self.start(None).is_err() {
                    self.plan_start();
                }
            }
        }
    }

    /// Waits for an event: a request for the reason, a signal, the word that the overlay is mounted, the end of the
    /// worker.
    fn wait(&self) -> anyhow::Result<[bool; 4]> {
        let timeout = self.next.map(|next| {
            let left = next.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        let mut polled = vec![(1, self.signals.as_fd())];
        polled.extend(self.reason.as_ref().map(|reason| (0, reason.device())));
        polled.extend(self.mounted.as_ref().map(|socket| (2, socket.as_fd())));
        polled.extend(self.worker.as_ref().map(|worker| (3, worker.process.as_fd())));
        let mut fds: Vec<_> = polled.iter().map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => bail!("cannot wait for events: {}", io::Error::from(errno)),
        }
        let mut events = [false; 4];
        for ((number, _), fd) in polled.iter().zip(&fds) {
            if let Some(event) = events.get_mut(*number) {
                *event = !fd.revents().is_empty();
            }
        }
        Ok(events)
    }

    /// Reads the number of the overlay. The end of the socket without a number: the overlay was not mounted, and the
    /// sessions end.
    fn note_mounted(&mut self) {
        let Some(mut socket) = self.mounted.take() else { return };
        let (mut major, mut minor) = ([0; 4], [0; 4]);
        if socket.read_exact(&mut major).and_then(|()| socket.read_exact(&mut minor)).is_ok() {
            let number = (u32::from_le_bytes(major), u32::from_le_bytes(minor));
            let _ = self.place.take(number, &self.task.facts(&self.target));
            let _ = socket.write_all(b"+");
        }
    }

    /// Notes the end of the worker, and plans the start of the next one. Returns the exit status.
    fn worker_has_ended(&mut self) -> Option<i32> {
        let worker = self.worker.take()?;
        let status = worker.process.wait().ok()?;
        match status.exit_status() {
            // The trigger has ended: the overlay is unmounted, or the connection was aborted.
            Some(0) => return Some(0),
            Some(COMPLETE) => return Some(COMPLETE),
            _ => {}
        }
        self.restarts.note(&end_text(status));
        if !self.trigger.as_ref().is_some_and(FuseSession::can_resend) {
            // Lookups that the worker had read would wait for ever: the end of the device ends them by an error. The
            // reason still answers.
            self.trigger = None;
            return None;
        }
        self.quick = if worker.started.elapsed() < QUICK { self.quick + 1 } else { 0 };
        self.plan_start();
        None
    }

    fn plan_start(&mut self) {
        let delay = DELAY.saturating_mul(self.quick.saturating_sub(1)).min(DELAY_MAX);
        self.next = Some(Instant::now() + delay);
    }

    fn end(&mut self) {
        if let Some(worker) = self.worker.take() {
            let ended = &mut [PollFd::new(&worker.process, PollFlags::IN)];
            let _ = poll(ended, Some(&WORKER_ENDS));
            let _ = kill_process(worker.process.pid(), Signal::KILL);
            let _ = worker.process.wait();
        }
        self.place.remove();
    }
}

/// Returns how a worker ended, for people.
fn end_text(status: WaitStatus) -> String {
    match (status.terminating_signal(), status.exit_status()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(status)) => format!("exit status {status}"),
        (None, None) => "unknown".to_owned(),
    }
}
