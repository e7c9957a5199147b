//! A store that answers as a directory does, except for what a test wants to go wrong.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use libcomposefs_delivery::{
    Abilities, CreateOutcome, ExpectedFile, FileKind, FileName, ListedFile, NewContent, RangeAnswer, RangeSink,
    ReadFile, RefReplacement, RemoteError, RemoteStore,
};

/// What a store does with calls.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Treatment {
    /// Passes them on.
    Right,
    /// Answers ranges by whole files.
    WholeFiles,
    /// Fails for good from this call on: before it is passed on, or after that.
    Dies { at: u64, after: bool },
    /// Fails for a while at each call whose number is divisible, in the middle of what it gives.
    Stumbles { each: u64 },
    /// Gives other bytes than it has, in calls of this number.
    Lies { at: u64, seed: u64 },
}

/// Counts calls, and treats them.
pub(crate) struct FaultyStore<'s> {
    inner: &'s dyn RemoteStore,
    treatment: Treatment,
    calls: AtomicU64,
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl<'s> FaultyStore<'s> {
    pub(crate) fn new(inner: &'s dyn RemoteStore, treatment: Treatment) -> Self {
        let (calls, reads, bytes) = Default::default();
        Self { inner, treatment, calls, reads, bytes }
    }

    /// Returns the number of calls.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Returns the number of reads and the bytes that they gave.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    pub(crate) fn forget_counts(&self) {
        self.reads.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Does a call as the treatment says.
    fn call<T>(&self, act: impl FnOnce(u64) -> Result<T, RemoteError>) -> Result<T, RemoteError> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let fails = |reason| RemoteError::new("the test", "reach", reason);
        match self.treatment {
            Treatment::Dies { at, after } if number == at && after => act(number).and(Err(fails("it died afterwards"))),
            Treatment::Dies { at, .. } if number >= at => Err(fails("it died")),
            Treatment::Stumbles { each } if number % each == each - 1 => Err(fails("it stumbled").temporary(None)),
            _ => act(number),
        }
    }

    /// Returns the seed of a lie, if the call with this number is one.
    fn lie(&self, number: u64) -> Option<u64> {
        match self.treatment {
            Treatment::Lies { at, seed } if number == at => Some(seed),
            _ => None,
        }
    }
}

impl RemoteStore for FaultyStore<'_> {
    fn location(&self) -> &str {
        self.inner.location()
    }

    fn abilities(&self) -> Abilities {
        Abilities { is_near: !matches!(self.treatment, Treatment::WholeFiles), ..self.inner.abilities() }
    }

    fn read(&self, name: &FileName, limit: u64) -> Result<Option<ReadFile>, RemoteError> {
        self.call(|number| {
            let mut file = self.inner.read(name, limit)?;
            self.reads.fetch_add(1, Ordering::Relaxed);
            if let Some(file) = &mut file {
                self.bytes.fetch_add(file.bytes.len() as u64, Ordering::Relaxed);
                if let Some(seed) = self.lie(number) {
                    change(&mut file.bytes, seed);
                }
            }
            Ok(file)
        })
    }

    fn read_range(
        &self,
        name: &FileName,
        range: Range<u64>,
        sink: &mut dyn RangeSink,
    ) -> Result<Option<RangeAnswer>, RemoteError> {
        self.call(|number| {
            self.reads.fetch_add(1, Ordering::Relaxed);
            let range = match (self.treatment, self.inner.length(name)?) {
                (Treatment::WholeFiles, Some(length)) => 0..length,
                _ => range,
            };
            let mut bytes = Whole(Vec::new());
            let answer = self.inner.read_range(name, range.clone(), &mut bytes)?;
            let Whole(mut bytes) = bytes;
            if let Some(seed) = self.lie(number) {
                change(&mut bytes, seed);
            }
            let failed = |error: io::Error| RemoteError::new("the test", "read", error.to_string());
            let answer = match self.treatment {
                Treatment::WholeFiles => answer.map(|_| RangeAnswer::Whole(range.end)),
                _ => answer,
            };
            if let Some(answer) = answer {
                sink.begin(answer).map_err(failed)?;
            }
            let stumbles = matches!(self.treatment, Treatment::Stumbles { each } if number % each == 0);
            let given = if stumbles { bytes.len() / 2 } else { bytes.len() };
            self.bytes.fetch_add(given as u64, Ordering::Relaxed);
            for piece in bytes[..given].chunks(10_000) {
                sink.bytes(piece).map_err(failed)?;
            }
            if stumbles { Err(failed(io::Error::other("cut")).temporary(None)) } else { Ok(answer) }
        })
    }

    fn length(&self, name: &FileName) -> Result<Option<u64>, RemoteError> {
        self.call(|_| self.inner.length(name))
    }

    fn create(&self, name: &FileName, content: &mut dyn NewContent) -> Result<CreateOutcome, RemoteError> {
        self.call(|_| self.inner.create(name, content))
    }

    fn replace(&self, name: &FileName, bytes: &[u8], expected: &ExpectedFile) -> Result<RefReplacement, RemoteError> {
        self.call(|_| self.inner.replace(name, bytes, expected))
    }

    fn list(&self, kind: FileKind) -> Result<Vec<ListedFile>, RemoteError> {
        self.call(|_| self.inner.list(kind))
    }

    fn delete(&self, name: &FileName) -> Result<(), RemoteError> {
        self.call(|_| self.inner.delete(name))
    }
}

/// Changes bytes: one of them, their number, or all.
fn change(bytes: &mut Vec<u8>, seed: u64) {
    let at = (seed / 8) as usize % bytes.len().max(1);
    match seed % 8 {
        0 => bytes.clear(),
        1 => bytes.truncate(at),
        2 => bytes.extend([7; 5]),
        3 => bytes.fill(0),
        4 => bytes.insert(at, 1),
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = byte.wrapping_add(1 + (seed % 200) as u8);
            }
        }
    }
}

struct Whole(Vec<u8>);

impl RangeSink for Whole {
    fn begin(&mut self, _: RangeAnswer) -> io::Result<()> {
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
