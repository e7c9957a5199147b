//! The interface of a remote: files by name, some of which are replaced by compare-and-swap.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::time::SystemTime;

use crate::{FileKind, FileName, RemoteError};

/// A place with the files of a remote. All methods block, and are called by many threads at once.
///
/// A store does one request for each call where it can. It repeats no request: the callers do, after errors that are
/// [temporary](crate::Persistence::Temporary). It verifies no content.
pub trait RemoteStore: Send + Sync {
    /// Returns the location, for messages: never with a password or token.
    fn location(&self) -> &str;

    /// Returns what the store can do.
    fn abilities(&self) -> Abilities;

    /// Reads a whole file of at most `limit` bytes; `None` if the remote has no such file.
    ///
    /// # Errors
    ///
    /// [`RemoteError`], also if the file is longer.
    fn read(&self, name: &FileName, limit: u64) -> Result<Option<ReadFile>, RemoteError>;

    /// Reads a part of a file into `sink`; `None` if the remote has no such file. The range is not empty. Without an
    /// error, the sink has received exactly the bytes that the answer promises: those of the range for
    /// [`RangeAnswer::Part`], the whole file for [`RangeAnswer::Whole`].
    ///
    /// # Errors
    ///
    /// [`RemoteError`], also if the file ends before the range, or the sink fails: the error of the sink is permanent.
    fn read_range(
        &self,
        name: &FileName,
        range: Range<u64>,
        sink: &mut dyn RangeSink,
    ) -> Result<Option<RangeAnswer>, RemoteError>;

    /// Returns the length of a file; `None` if the remote has no such file.
    ///
    /// # Errors
    ///
    /// [`RemoteError`]
    fn length(&self, name: &FileName) -> Result<Option<u64>, RemoteError>;

    /// Writes a file that [never changes](FileName::sha256), if the remote does not have it. The file has its name when
    /// it is complete and durable, not before.
    ///
    /// # Errors
    ///
    /// [`RemoteError`], also if `content` fails or has another length than it says.
    fn create(&self, name: &FileName, content: &mut dyn NewContent) -> Result<CreateOutcome, RemoteError>;

    /// Replaces a file that may change, if it is what is expected.
    ///
    /// # Errors
    ///
    /// [`RemoteError`]
    fn replace(&self, name: &FileName, bytes: &[u8], expected: &ExpectedFile) -> Result<RefReplacement, RemoteError>;

    /// Lists the files of a kind, in any order. Files with other names are left out.
    ///
    /// # Errors
    ///
    /// [`RemoteError`], also if the store cannot list.
    fn list(&self, kind: FileKind) -> Result<Vec<ListedFile>, RemoteError>;

    /// Removes a file. A missing one is no error.
    ///
    /// # Errors
    ///
    /// [`RemoteError`], also if the store cannot remove.
    fn delete(&self, name: &FileName) -> Result<(), RemoteError>;
}

/// What a store can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// The reason why the store cannot be written, and what to do about it; `None` if it can.
    pub read_only: Option<String>,
    /// The reason why the store cannot list or remove files, and what to do instead; `None` if it can.
    pub no_gc: Option<String>,
    /// How refs are replaced.
    pub compare_and_swap: CompareAndSwap,
    /// True if an access costs next to nothing, as in a local directory.
    pub is_near: bool,
}

/// How a store replaces a file that may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareAndSwap {
    /// Of several that replace the same version one succeeds.
    Exact,
    /// The last one wins: the caller reads again, and may find another's.
    ReadAgain,
}

/// The version of a file that may change, as the store names it (an ETag, for example).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileVersion(pub String);

/// A whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// Content of the file.
    pub bytes: Vec<u8>,
    /// Version of the file, if the store has versions.
    pub version: Option<FileVersion>,
}

/// What a store gives for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeAnswer {
    /// The bytes of the range.
    Part,
    /// The whole file of this length, from its first byte: the server ignores ranges.
    Whole(u64),
}

/// Receives the bytes of a range.
pub trait RangeSink: Send {
    /// Receives the answer, once, before the first byte.
    ///
    /// # Errors
    ///
    /// The bytes are not wanted: [`RemoteStore::read_range`] reads no more, and fails.
    fn begin(&mut self, answer: RangeAnswer) -> io::Result<()>;

    /// Receives the next bytes.
    ///
    /// # Errors
    ///
    /// No more bytes are wanted: [`RemoteStore::read_range`] fails.
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// The content of a new file. It can be read more than once.
pub trait NewContent: Read + Send {
    /// Returns the length in bytes.
    fn length(&self) -> u64;

    /// Goes back to the first byte.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    fn rewind(&mut self) -> io::Result<()>;
}

impl<T: AsRef<[u8]> + Send> NewContent for Cursor<T> {
    fn length(&self) -> u64 {
        self.get_ref().as_ref().len() as u64
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.set_position(0);
        Ok(())
    }
}

impl NewContent for File {
    /// Returns 0 if the file cannot be examined: reading fails then.
    fn length(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }

    fn rewind(&mut self) -> io::Result<()> {
        self.seek(SeekFrom::Start(0)).map(drop)
    }
}

/// The result of [`RemoteStore::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    /// The file was written.
    New,
    /// The remote has the file.
    Existed,
}

/// What a file must be for [`RemoteStore::replace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedFile {
    /// Missing.
    Absent,
    /// This version, as it was read.
    Version(FileVersion),
}

/// The result of [`RemoteStore::replace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefReplacement {
    /// The file was replaced, and has this version now.
    Done(Option<FileVersion>),
    /// The file is not what was expected. Nothing was changed.
    Changed,
}

/// A file in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// Name of the file.
    pub name: FileName,
    /// Length of the file in bytes.
    pub length: u64,
    /// Time of the last change, by the clock of the store.
    pub modified: SystemTime,
}
