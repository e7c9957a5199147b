//! A connection to the server, shared by threads: their requests are written one after the other, and each thread reads
//! its own reply when it is its turn.

use std::io::{self, BufReader, BufWriter, Read as _};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use libcomposefs_content::mutex::lock;
use libcomposefs_delivery::NewContent;

use super::message::{ABORT, DATA, END, Reply, Request};
use super::pipe::TimedPipe;
use super::wire::{FrameReader, MessageWriter, PAYLOAD_MAX, WireError};
use crate::printable::printable;

/// Bytes of the program's messages that are kept.
const MESSAGES_MAX: u64 = 64 << 10;
/// How long the last messages of a program are waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Characters of the program's messages in an error.
const MESSAGE_MAX: usize = 600;

/// A running program with the connection.
pub(super) struct Connection {
    writer: Mutex<Outgoing>,
    reader: Mutex<IncomingBytes>,
    /// A reply was read.
    turn: Condvar,
    is_broken: AtomicBool,
    /// The program; none in tests.
    child: Mutex<Option<RunningChild>>,
    messages: Arc<Mutex<String>>,
    /// Why the server cannot be written.
    pub(super) read_only: Option<String>,
}

/// A program that ends with the value.
struct RunningChild(Child);

struct Outgoing {
    frames: MessageWriter<BufWriter<TimedPipe>>,
    /// Number of the next request.
    next: u64,
}

pub(super) struct IncomingBytes {
    frames: FrameReader<BufReader<TimedPipe>>,
    /// Number of the request whose reply is next.
    turn: u64,
}

/// The failure of a request.
#[derive(Debug)]
pub(super) enum RequestFailure {
    /// The connection is of no use any more; a new one may be.
    Connection(WireError),
    /// The server has refused the request.
    Refused { is_temporary: bool, reason: String },
    /// The caller's content or receiver failed.
    Local(io::Error),
}

impl From<WireError> for RequestFailure {
    fn from(error: WireError) -> Self {
        Self::Connection(error)
    }
}

impl From<io::Error> for RequestFailure {
    fn from(error: io::Error) -> Self {
        Self::Connection(error.into())
    }
}

impl Connection {
    /// Starts the program, and waits until the server is ready.
    pub(super) fn open(
        mut command: Command,
        limit: Duration,
        interrupt: Option<Arc<AtomicBool>>,
    ) -> Result<Self, (WireError, String)> {
        let bare = |error: io::Error| (WireError::Io(error), String::new());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(bare)?;
        let messages: Arc<Mutex<String>> = Arc::default();
        let collector = child.stderr.take().map(|stderr| collect(stderr, Arc::clone(&messages)));
        let ends = child.stdin.take().zip(child.stdout.take());
        let started = match ends {
            Some((input, output)) => Self::over(input.into(), output.into(), limit, interrupt),
            None => Err(WireError::Io(io::ErrorKind::BrokenPipe.into())),
        };
        match started {
            Ok(connection) => Ok(Self { child: Mutex::new(Some(RunningChild(child))), messages, ..connection }),
            Err(error) => {
                let _ = (child.kill(), child.wait());
                // What the program says arrives shortly before its end.
                let deadline = Instant::now() + LAST_WORDS;
                while collector.as_ref().is_some_and(|thread| !thread.is_finished()) && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(5));
                }
                Err((error, said(&messages)))
            }
        }
    }

    /// Uses a pair of streams, and waits until the server is ready.
    pub(super) fn over(
        input: OwnedFd,
        output: OwnedFd,
        limit: Duration,
        interrupt: Option<Arc<AtomicBool>>,
    ) -> Result<Self, WireError> {
        let input = TimedPipe::new(input, limit, interrupt.clone())?;
        let output = TimedPipe::new(output, limit, interrupt)?;
        let mut frames = MessageWriter::new(BufWriter::with_capacity(PAYLOAD_MAX, input));
        let mut replies = FrameReader::new(BufReader::with_capacity(PAYLOAD_MAX, output));
        // A program that could not be started has closed its input: the reason is on its output, or in its messages.
        let sent = frames.hello();
        replies.expect_hello()?;
        sent?;
        let Some((kind, payload)) = replies.next()? else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        };
        let Reply::Ready { read_only } = Reply::decode(kind, payload)? else {
            return Err(WireError::Protocol("the first reply is not that the server is ready"));
        };
        Ok(Self {
            writer: Mutex::new(Outgoing { frames, next: 0 }),
            reader: Mutex::new(IncomingBytes { frames: replies, turn: 0 }),
            turn: Condvar::new(),
            is_broken: AtomicBool::new(false),
            child: Mutex::new(None),
            messages: Arc::default(),
            read_only: read_only.map(|reason| printable(&reason, MESSAGE_MAX)),
        })
    }

    /// Reports whether the connection can be used.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::SeqCst)
    }

    /// Returns what the program says.
    pub(super) fn said(&self) -> String {
        said(&self.messages)
    }

    /// Sends a request with the bytes that follow it, and reads the reply.
    pub(super) fn call<T>(
        &self,
        request: &Request,
        content: Option<&mut dyn NewContent>,
        receive: impl FnOnce(&mut IncomingBytes) -> Result<T, RequestFailure>,
    ) -> Result<T, RequestFailure> {
        let mut outgoing = lock(&self.writer);
        if self.is_broken() {
            return Err(closed());
        }
        let number = outgoing.next;
        outgoing.next += 1;
        let sent = outgoing.send(request, content);
        drop(outgoing);
        let given_up = match sent {
            Ok(given_up) => given_up,
            Err(error) => return Err(self.broken(error.into())),
        };
        let mut incoming = lock(&self.reader);
        while incoming.turn != number {
            if self.is_broken() {
                return Err(closed());
            }
            incoming = self.turn.wait(incoming).unwrap_or_else(PoisonError::into_inner);
        }
        let result = receive(&mut incoming);
        incoming.turn += 1;
        drop(incoming);
        if let Err(RequestFailure::Connection(error)) = result {
            return Err(self.broken(error));
        }
        self.turn.notify_all();
        match given_up {
            Some(error) => Err(RequestFailure::Local(error)),
            None => result,
        }
    }

    /// Ends the connection: which reply is next is not known.
    fn broken(&self, error: WireError) -> RequestFailure {
        self.is_broken.store(true, Ordering::SeqCst);
        drop(lock(&self.child).take());
        // A thread that waits for a turn has either seen the flag or waits by now.
        drop(lock(&self.reader));
        self.turn.notify_all();
        RequestFailure::Connection(error)
    }
}

fn closed() -> RequestFailure {
    RequestFailure::Connection(WireError::Io(io::ErrorKind::ConnectionAborted.into()))
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// Collects what the program says, in a thread that ends with the program.
fn collect(stderr: ChildStderr, messages: Arc<Mutex<String>>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        let (mut piece, mut kept) = ([0; 1024], 0);
        while let Ok(read @ 1..) = stderr.read(&mut piece) {
            // Further messages are read, so that the program does not wait, and dropped.
            if kept < MESSAGES_MAX {
                kept += read as u64;
                lock(&messages).push_str(&String::from_utf8_lossy(piece.get(..read).unwrap_or_default()));
            }
        }
    })
}

/// Returns the last messages on one line.
fn said(messages: &Mutex<String>) -> String {
    let messages = lock(messages);
    let lines: Vec<_> = messages.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join(" / ");
    let skip = text.chars().count().saturating_sub(MESSAGE_MAX);
    printable(&text.chars().skip(skip).collect::<String>(), MESSAGE_MAX)
}

impl Outgoing {
    /// Writes a request. A failure of the content is told to the server, and returned as a value.
    fn send(&mut self, request: &Request, content: Option<&mut dyn NewContent>) -> io::Result<Option<io::Error>> {
        let (kind, payload) = request.encode();
        self.frames.frame(kind, &payload)?;
        let mut failure = None;
        if let Some(content) = content {
            failure = self.send_content(content)?;
            self.frames.frame(if failure.is_some() { ABORT } else { END }, &[])?;
        }
        self.frames.flush()?;
        Ok(failure)
    }

    fn send_content(&mut self, content: &mut dyn NewContent) -> io::Result<Option<io::Error>> {
        let mut left = content.length();
        let mut piece = vec![0; PAYLOAD_MAX];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PAYLOAD_MAX).min(PAYLOAD_MAX);
            let read = match content.read(piece.get_mut(..most).unwrap_or_default()) {
                Ok(0) => return Ok(Some(io::Error::new(io::ErrorKind::UnexpectedEof, "the content ends too early"))),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Some(error)),
            };
            self.frames.frame(DATA, piece.get(..read).unwrap_or_default())?;
            left = left.saturating_sub(read as u64);
        }
        Ok(None)
    }
}

impl IncomingBytes {
    /// Reads a reply. A refusal of the server is a failure.
    pub(super) fn reply(&mut self) -> Result<Reply, RequestFailure> {
        let Some((kind, payload)) = self.frames.next()? else {
            return Err(WireError::Io(io::ErrorKind::UnexpectedEof.into()).into());
        };
        match Reply::decode(kind, payload)? {
            Reply::Failed { is_temporary, reason } => {
                Err(RequestFailure::Refused { is_temporary, reason: printable(&reason, MESSAGE_MAX) })
            }
            reply => Ok(reply),
        }
    }

    /// Reads the bytes that follow a reply: as many as `length` says.
    ///
    /// After a failure of `receive` the bytes are read on, so that the connection can be used further.
    pub(super) fn bytes(
        &mut self,
        length: &Range<u64>,
        receive: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), RequestFailure> {
        let (mut received, mut failure) = (0, None);
        loop {
            let Some((kind, payload)) = self.frames.next()? else {
                return Err(WireError::Io(io::ErrorKind::UnexpectedEof.into()).into());
            };
            match kind {
                DATA => {
                    received += payload.len() as u64;
                    if received > length.end || payload.is_empty() {
                        return Err(WireError::Protocol("a file has more bytes than it may have").into());
                    }
                    if failure.is_none() {
                        failure = receive(payload).err();
                    }
                }
                END if !payload.is_empty() || received < length.start => {
                    return Err(WireError::Protocol("a file has fewer bytes than it must have").into());
                }
                END => return failure.map_or(Ok(()), |error| Err(RequestFailure::Local(error))),
                // The server failed while it read the file.
                _ => match Reply::decode(kind, payload)? {
                    Reply::Failed { is_temporary, reason } => {
                        return Err(RequestFailure::Refused { is_temporary, reason: printable(&reason, MESSAGE_MAX) });
                    }
                    _ => return Err(WireError::Protocol("a reply within the bytes of a file").into()),
                },
            }
        }
    }
}
