//! The server: gives another machine access to a remote, by requests on one stream and replies on another.
//!
//! The requests are answered one after the other. What arrives is not trusted: names have types, lengths are bounded,
//! and a new file is checked against the SHA-256 in its name before its last byte is accepted.

use std::io::{self, BufReader, BufWriter, Read, Write};

use libcomposefs_delivery::{
    CreateOutcome, FileName, NewContent, Persistence, RangeAnswer, RangeSink, RefReplacement, RemoteError, RemoteStore,
    Sha256Digest,
};
use sha2::{Digest as _, Sha256};

use super::message::{ABORT, DATA, END, Reply, Request};
use super::wire::{FrameReader, MessageWriter, PAYLOAD_MAX, WireError};

/// The longest file that is replaced, and the longest that is read as a whole.
const WHOLE_MAX: u64 = 1 << 31;
/// The longest file that is replaced: ref documents are shorter.
const REPLACED_MAX: u64 = 2 << 20;
/// Files of one message of a list; each is shorter than 600 bytes.
const FILES_AT_ONCE: usize = 100;

/// Serves a remote until the input ends. With `read_only`, the reason why, nothing is written.
///
/// # Errors
///
/// If the streams fail, or the other side breaks the protocol.
pub fn serve(
    store: &dyn RemoteStore,
    read_only: Option<&str>,
    input: impl Read + Send,
    output: impl Write + Send,
) -> io::Result<()> {
    let mut session = Session {
        store,
        read_only,
        input: FrameReader::new(BufReader::new(input)),
        output: MessageWriter::new(BufWriter::with_capacity(PAYLOAD_MAX, output)),
    };
    session.run().map_err(|error| match error {
        WireError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    })
}

struct Session<'a, R, W: Write> {
    store: &'a dyn RemoteStore,
    read_only: Option<&'a str>,
    input: FrameReader<R>,
    output: MessageWriter<W>,
}

impl<R: Read + Send, W: Write + Send> Session<'_, R, W> {
    fn run(&mut self) -> Result<(), WireError> {
        self.output.hello()?;
        self.input.expect_hello()?;
        let read_only = self.read_only.map(str::to_owned).or_else(|| self.store.abilities().read_only);
        self.reply(&Reply::Ready { read_only: read_only.clone() })?;
        self.output.flush()?;
        loop {
            let Some((kind, payload)) = self.input.next()? else { return Ok(()) };
            let request = Request::decode(kind, payload)?;
            self.answer(request, read_only.as_deref())?;
            self.output.flush()?;
        }
    }

    fn answer(&mut self, request: Request, read_only: Option<&str>) -> Result<(), WireError> {
        let refused = || Reply::Failed { is_temporary: false, reason: read_only.unwrap_or_default().to_owned() };
        match request {
            Request::Read { name, limit } => self.read(&name, limit),
            Request::ReadRange { name, range } => {
                let mut sink = FrameSink { output: &mut self.output, failure: None };
                let result = self.store.read_range(&name, range, &mut sink);
                if let Some(error) = sink.failure {
                    return Err(error.into());
                }
                match result {
                    Ok(Some(_)) => Ok(self.output.frame(END, &[])?),
                    Ok(None) => self.reply(&Reply::Absent),
                    Err(error) => self.fail(&error),
                }
            }
            Request::Length { name } => match self.store.length(&name) {
                Ok(Some(length)) => self.reply(&Reply::Length(length)),
                Ok(None) => self.reply(&Reply::Absent),
                Err(error) => self.fail(&error),
            },
            Request::Create { name, length } => self.create(&name, length, read_only),
            Request::Replace { name, expected, length } => {
                if length > REPLACED_MAX {
                    return Err(WireError::Protocol("a file to replace has more than 2 MiB"));
                }
                let mut bytes = Vec::new();
                let mut content = WireContent::new(&mut self.input, &name, length);
                content.read_to_end(&mut bytes)?;
                content.finish()?;
                if read_only.is_some() {
                    return self.reply(&refused());
                }
                match self.store.replace(&name, &bytes, &expected) {
                    Ok(RefReplacement::Done(version)) => self.reply(&Reply::Replaced(version)),
                    Ok(RefReplacement::Changed) => self.reply(&Reply::Changed),
                    Err(error) => self.fail(&error),
                }
            }
            Request::List { kind } => match self.store.list(kind) {
                Ok(files) => {
                    for files in files.chunks(FILES_AT_ONCE) {
                        self.reply(&Reply::Files(files.to_vec()))?;
                    }
                    self.reply(&Reply::Files(Vec::new()))
                }
                Err(error) => self.fail(&error),
            },
            Request::Delete { .. } if read_only.is_some() => self.reply(&refused()),
            Request::Delete { name } => match self.store.delete(&name) {
                Ok(()) => self.reply(&Reply::Removed),
                Err(error) => self.fail(&error),
            },
        }
    }

    fn read(&mut self, name: &FileName, limit: u64) -> Result<(), WireError> {
        match self.store.read(name, limit.min(WHOLE_MAX)) {
            Ok(Some(file)) => {
                self.reply(&Reply::File { version: file.version })?;
                for piece in file.bytes.chunks(PAYLOAD_MAX) {
                    self.output.frame(DATA, piece)?;
                }
                Ok(self.output.frame(END, &[])?)
            }
            Ok(None) => self.reply(&Reply::Absent),
            Err(error) => self.fail(&error),
        }
    }

    fn create(&mut self, name: &FileName, length: u64, read_only: Option<&str>) -> Result<(), WireError> {
        let mut content = WireContent::new(&mut self.input, name, length);
        let result = match read_only {
            Some(reason) => Err((false, reason.to_owned())),
            None if name.sha256().is_none() => Err((false, "a file of this kind cannot be created".to_owned())),
            // The store reads nothing of an empty file, and so nothing would check it.
            None if length == 0 => Err((false, "the content is empty".to_owned())),
            None => self.store.create(name, &mut content).map_err(|error| described(&error)),
        };
        content.finish()?;
        match result {
            Ok(CreateOutcome::New) => self.reply(&Reply::Created),
            Ok(CreateOutcome::Existed) => self.reply(&Reply::Existed),
            Err((is_temporary, reason)) => self.reply(&Reply::Failed { is_temporary, reason }),
        }
    }

    fn reply(&mut self, reply: &Reply) -> Result<(), WireError> {
        let (kind, payload) = reply.encode();
        Ok(self.output.frame(kind, &payload)?)
    }

    fn fail(&mut self, error: &RemoteError) -> Result<(), WireError> {
        let (is_temporary, reason) = described(error);
        self.reply(&Reply::Failed { is_temporary, reason })
    }
}

fn described(error: &RemoteError) -> (bool, String) {
    (matches!(error.persistence(), Persistence::Temporary { .. }), error.reason().to_owned())
}

/// Sends the bytes of a range.
struct FrameSink<'a, W> {
    output: &'a mut MessageWriter<W>,
    /// A failure of the stream, which ends the session.
    failure: Option<io::Error>,
}

impl<W: Write> FrameSink<'_, W> {
    fn keep(&mut self, result: io::Result<()>) -> io::Result<()> {
        result.map_err(|error| {
            let copy = io::Error::from(error.kind());
            self.failure = Some(error);
            copy
        })
    }
}

impl<W: Write + Send> RangeSink for FrameSink<'_, W> {
    fn begin(&mut self, answer: RangeAnswer) -> io::Result<()> {
        if answer != RangeAnswer::Part {
            return Err(io::Error::other("the remote of the server has no ranges"));
        }
        let (kind, payload) = Reply::Part.encode();
        let result = self.output.frame(kind, &payload);
        self.keep(result)
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PAYLOAD_MAX) {
            let result = self.output.frame(DATA, piece);
            self.keep(result)?;
        }
        Ok(())
    }
}

/// The content of a new file as it arrives.
struct WireContent<'a, R> {
    input: &'a mut FrameReader<R>,
    length: u64,
    left: u64,
    /// Bytes that arrived and were not read yet.
    pending: Vec<u8>,
    at: usize,
    hasher: Option<Sha256>,
    expected: Option<Sha256Digest>,
    /// Whether the end was received.
    has_ended: bool,
    failure: Option<WireError>,
}

impl<'a, R: Read> WireContent<'a, R> {
    fn new(input: &'a mut FrameReader<R>, name: &FileName, length: u64) -> Self {
        let expected = name.sha256().copied();
        let hasher = expected.map(|_| Sha256::new());
        let pending = Vec::new();
        Self { input, length, left: length, pending, at: 0, hasher, expected, has_ended: false, failure: None }
    }

    /// Receives the next frame. A failure of the stream or of the protocol is kept: it ends the session.
    fn receive(&mut self) -> io::Result<()> {
        let result = match self.input.next() {
            Ok(Some((DATA, bytes))) if bytes.len() as u64 <= self.left && !bytes.is_empty() => {
                self.pending.clear();
                self.pending.extend_from_slice(bytes);
                self.at = 0;
                self.left -= bytes.len() as u64;
                Ok(())
            }
            Ok(Some((DATA, _))) => Err(WireError::Protocol("the bytes of a file are more than announced")),
            Ok(Some((END, []))) if self.left == 0 => {
                self.has_ended = true;
                Ok(())
            }
            Ok(Some((ABORT, []))) => {
                self.has_ended = true;
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the sender has given up"));
            }
            Ok(Some(_)) => Err(WireError::Protocol("the bytes of a file do not follow")),
            Ok(None) => Err(WireError::Io(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(error),
        };
        result.map_err(|error| {
            let copy = io::Error::new(io::ErrorKind::ConnectionAborted, error.to_string());
            self.failure = Some(error);
            copy
        })
    }

    /// Checks the digest once all bytes have arrived.
    fn check(&mut self) -> io::Result<()> {
        let (Some(hasher), Some(expected)) = (self.hasher.take(), self.expected) else { return Ok(()) };
        let found = Sha256Digest::new(hasher.finalize().into());
        if found == expected {
            return Ok(());
        }
        self.failure = None;
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("the content has the SHA-256 {found}, not {expected}")))
    }

    /// Receives what was not read, up to the end.
    fn finish(mut self) -> Result<(), WireError> {
        while !self.has_ended && self.failure.is_none() {
            let _ = self.receive();
        }
        self.failure.map_or(Ok(()), Err)
    }
}

impl<R: Read> Read for WireContent<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.pending.len() {
            if self.has_ended || self.left == 0 {
                return Ok(0);
            }
            self.receive()?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&self.pending);
            }
            // The last bytes are given only if all are right.
            if self.left == 0 {
                self.check()?;
            }
        }
        let rest = self.pending.get(self.at..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        if let (Some(target), Some(bytes)) = (buffer.get_mut(..length), rest.get(..length)) {
            target.copy_from_slice(bytes);
        }
        self.at += length;
        Ok(length)
    }
}

impl<R: Read + Send> NewContent for WireContent<'_, R> {
    fn length(&self) -> u64 {
        self.length
    }

    fn rewind(&mut self) -> io::Result<()> {
        if self.left == self.length { Ok(()) } else { Err(io::Error::other("bytes of a connection come once")) }
    }
}
