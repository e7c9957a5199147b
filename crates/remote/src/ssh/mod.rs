//! Remotes on other machines: a server on a pair of streams, and a client that starts it by ssh.
//!
//! `docs/format/remote.md` specifies the protocol. Neither side trusts the other.

mod connection;
mod message;
mod pipe;
mod server;
#[cfg(test)]
mod tests;
mod url;
mod wire;

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libcomposefs_content::mutex::lock;
use libcomposefs_delivery::{
    Abilities, CompareAndSwap, CreateOutcome, ExpectedFile, FileKind, FileName, ListedFile, NewContent, RangeAnswer,
    RangeSink, ReadFile, RefReplacement, RemoteError, RemoteStore,
};

use connection::{Connection, IncomingBytes, RequestFailure};
use message::{Reply, Request};
pub use server::serve;
use url::SshUrl;
use wire::WireError;

/// Most files of a list.
const LISTED_MAX: usize = 1 << 22;
/// Bytes that are reserved before a file arrives.
const RESERVED_MAX: u64 = 1 << 20;

/// How another machine is reached.
#[derive(Clone, Debug)]
pub struct SshOptions {
    /// Program in place of `ssh`: it gets the same arguments.
    pub program: PathBuf,
    /// Time limit without any byte from the other side.
    pub idle_time: Duration,
    /// Once another thread sets it, requests end soon.
    pub interrupt: Option<Arc<AtomicBool>>,
}

impl Default for SshOptions {
    fn default() -> Self {
        Self { program: "ssh".into(), idle_time: Duration::from_secs(60), interrupt: None }
    }
}

/// A remote on another machine, at `ssh://[USER@]HOST[:PORT]/PATH`. The connection is opened again if it was cut.
pub struct SshStore {
    url: SshUrl,
    location: String,
    options: SshOptions,
    connection: Mutex<Arc<Connection>>,
}

impl SshStore {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// If the URL is not valid, ssh fails, or the other machine has no composefs with the same protocol.
    pub fn open(url: &str, options: SshOptions) -> Result<Self, RemoteError> {
        let parsed = SshUrl::parse(url).map_err(|reason| RemoteError::new(url, "open", reason))?;
        let location = parsed.to_string();
        let connection = connect(&parsed, &location, &options)?;
        Ok(Self { url: parsed, location, options, connection: Mutex::new(Arc::new(connection)) })
    }

    /// Returns a connection that can be used.
    fn connection(&self) -> Result<Arc<Connection>, RemoteError> {
        let mut connection = lock(&self.connection);
        if connection.is_broken() {
            *connection = Arc::new(connect(&self.url, &self.location, &self.options)?);
        }
        Ok(Arc::clone(&connection))
    }

    /// Sends a request, and reads the reply.
    fn call<T>(
        &self,
        verb: &'static str,
        name: Option<&FileName>,
        request: &Request,
        content: Option<&mut dyn NewContent>,
        receive: impl FnOnce(&mut IncomingBytes) -> Result<T, RequestFailure>,
    ) -> Result<T, RemoteError> {
        let connection = self.connection()?;
        let result = connection.call(request, content, receive);
        let failure = match result {
            Ok(value) => return Ok(value),
            Err(failure) => failure,
        };
        let made = |reason: String| {
            let error = RemoteError::new(&self.location, verb, reason);
            match name {
                Some(name) => error.of(name),
                None => error,
            }
        };
        Err(match failure {
            RequestFailure::Refused { is_temporary: true, reason } => made(reason).temporary(None),
            RequestFailure::Refused { reason, .. } => made(reason),
            RequestFailure::Local(error) => made(error.to_string()).caused_by(error),
            RequestFailure::Connection(WireError::Io(error)) => {
                let said = connection.said();
                let said = if said.is_empty() { said } else { format!(" ({said})") };
                made(format!("the connection was cut: {error}{said}")).temporary(None)
            }
            RequestFailure::Connection(error) => made(error.to_string()),
        })
    }
}

/// Starts ssh, and waits for the server.
fn connect(url: &SshUrl, location: &str, options: &SshOptions) -> Result<Connection, RemoteError> {
    let mut command = Command::new(&options.program);
    command.args(url.arguments());
    Connection::open(command, options.idle_time, options.interrupt.clone()).map_err(|(error, said)| {
        let program = options.program.display();
        let reason = match &error {
            WireError::Io(error) if error.kind() == io::ErrorKind::NotFound => {
                format!("the program {program} does not exist")
            }
            _ if said.is_empty() => error.to_string(),
            _ => format!("{error} ({program}: {said})"),
        };
        let remedy = match error {
            WireError::Foreign(_) => {
                "the shell of the other machine must print nothing for programs: check its start files".to_owned()
            }
            WireError::Version(..) => "install the same version of composefs on both machines".to_owned(),
            _ => format!(
                "try `ssh {} composefs --version`: the other machine needs this version of composefs, and the key of \
                 the user",
                url.destination()
            ),
        };
        RemoteError::new(location, "open", reason).remedy(remedy)
    })
}

fn unexpected<T>() -> Result<T, RequestFailure> {
    Err(WireError::Protocol("the reply is of another request").into())
}

impl std::fmt::Debug for SshStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshStore").field("location", &self.location).finish_non_exhaustive()
    }
}

impl RemoteStore for SshStore {
    fn location(&self) -> &str {
        &self.location
    }

    fn abilities(&self) -> Abilities {
        let connection = lock(&self.connection);
        Abilities {
            read_only: connection.read_only.clone(),
            no_gc: connection.read_only.clone(),
            compare_and_swap: CompareAndSwap::Exact,
            is_near: false,
        }
    }

    fn read(&self, name: &FileName, limit: u64) -> Result<Option<ReadFile>, RemoteError> {
        let request = Request::Read { name: name.clone(), limit };
        self.call("read", Some(name), &request, None, |incoming| match incoming.reply()? {
            Reply::Absent => Ok(None),
            Reply::File { version } => {
                let mut bytes = Vec::with_capacity(usize::try_from(limit.min(RESERVED_MAX)).unwrap_or_default());
                incoming.bytes(&(0..limit), &mut |piece| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                })?;
                Ok(Some(ReadFile { bytes, version }))
            }
            _ => unexpected(),
        })
    }

    fn read_range(
        &self,
        name: &FileName,
        range: Range<u64>,
        sink: &mut dyn RangeSink,
    ) -> Result<Option<RangeAnswer>, RemoteError> {
        if range.is_empty() {
            return Err(RemoteError::new(&self.location, "read", "the range is empty").of(name));
        }
        let length = range.end - range.start;
        let request = Request::ReadRange { name: name.clone(), range };
        self.call("read", Some(name), &request, None, |incoming| match incoming.reply()? {
            Reply::Absent => Ok(None),
            Reply::Part => {
                let begun = sink.begin(RangeAnswer::Part);
                let is_begun = begun.is_ok();
                // The bytes are read in any case: those of the next reply follow them.
                incoming.bytes(&(length..length), &mut |piece| if is_begun { sink.bytes(piece) } else { Ok(()) })?;
                begun.map_err(RequestFailure::Local)?;
                Ok(Some(RangeAnswer::Part))
            }
            _ => unexpected(),
        })
    }

    fn length(&self, name: &FileName) -> Result<Option<u64>, RemoteError> {
        let request = Request::Length { name: name.clone() };
        self.call("look for", Some(name), &request, None, |incoming| match incoming.reply()? {
            Reply::Absent => Ok(None),
            Reply::Length(length) => Ok(Some(length)),
            _ => unexpected(),
        })
    }

    fn create(&self, name: &FileName, content: &mut dyn NewContent) -> Result<CreateOutcome, RemoteError> {
        let failed =
            |error: io::Error| RemoteError::new(&self.location, "write", error.to_string()).of(name).caused_by(error);
        content.rewind().map_err(failed)?;
        let request = Request::Create { name: name.clone(), length: content.length() };
        self.call("write", Some(name), &request, Some(content), |incoming| match incoming.reply()? {
            Reply::Created => Ok(CreateOutcome::New),
            Reply::Existed => Ok(CreateOutcome::Existed),
            _ => unexpected(),
        })
    }

    fn replace(&self, name: &FileName, bytes: &[u8], expected: &ExpectedFile) -> Result<RefReplacement, RemoteError> {
        let mut content = io::Cursor::new(bytes);
        let (expected, length) = (expected.clone(), bytes.len() as u64);
        let request = Request::Replace { name: name.clone(), expected, length };
        self.call("replace", Some(name), &request, Some(&mut content), |incoming| match incoming.reply()? {
            Reply::Replaced(version) => Ok(RefReplacement::Done(version)),
            Reply::Changed => Ok(RefReplacement::Changed),
            _ => unexpected(),
        })
    }

    fn list(&self, kind: FileKind) -> Result<Vec<ListedFile>, RemoteError> {
        self.call("list the files of", None, &Request::List { kind }, None, |incoming| {
            let mut files = Vec::new();
            loop {
                match incoming.reply()? {
                    Reply::Files(more) if more.is_empty() => return Ok(files),
                    Reply::Files(more) if files.len() + more.len() <= LISTED_MAX => files.extend(more),
                    Reply::Files(_) => return Err(WireError::Protocol("the list has more than 2^22 files").into()),
                    _ => return unexpected(),
                }
            }
        })
    }

    fn delete(&self, name: &FileName) -> Result<(), RemoteError> {
        let request = Request::Delete { name: name.clone() };
        self.call("remove", Some(name), &request, None, |incoming| match incoming.reply()? {
            Reply::Removed => Ok(()),
            _ => unexpected(),
        })
    }
}

/// Reads all replies of a server, for the fuzz target; `None` if one of them is not valid.
#[cfg(feature = "fuzzing")]
pub(crate) fn read_replies(bytes: &[u8]) -> Option<usize> {
    let mut frames = wire::FrameReader::new(bytes);
    frames.expect_hello().ok()?;
    let mut replies = 0;
    while let Some((kind, payload)) = frames.next().ok()? {
        if !matches!(kind, message::DATA | message::END) {
            let reply = Reply::decode(kind, payload).ok()?;
            let (kind, payload) = reply.encode();
            assert!(Reply::decode(kind, &payload).is_ok_and(|again| again == reply), "{reply:?}");
        }
        replies += 1;
    }
    Some(replies)
}
