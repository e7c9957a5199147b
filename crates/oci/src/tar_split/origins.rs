//! The places that contents come from: a content that is an object already, or a file that can be cloned, is not
//! written again.

use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libcomposefs_content::SourceFile;
use libcomposefs_image::verity::Hasher;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_store::{Batch, ClonedFile, Error};
use libcomposefs_sys::copy::READ_SIZE;

use crate::layer::{INLINE_MAX, LayerSink, PieceSink, each_piece};

/// Objects up to this size are read whole by the batch, which looks for them in the store before it writes.
const REREAD_MIN: u64 = 1 << 20;

/// The place that a content comes from.
#[derive(Clone, Debug)]
pub enum ContentOrigin {
    /// No place that the store can use.
    Unknown,
    /// An object of the store. The content is compared with its digest.
    Object(Digest),
    /// A file that the store may clone. At most a few may be open at once, so this is for large files.
    File(Arc<OwnedFd>),
}

/// A content that became an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumberedObject {
    /// The number of the file, from 0, of those with content.
    pub number: u64,
    /// The digest of its object.
    pub digest: Digest,
}

/// The contents that the importer has read from a rebuilt archive but not stored yet, in their order.
#[derive(Debug, Default)]
pub struct Origins<'s> {
    /// Where files are cloned to, before they are read.
    batch: Option<&'s Batch<'s>>,
    queue: Mutex<OriginQueue>,
}

#[derive(Debug, Default)]
struct OriginQueue {
    waiting: VecDeque<WaitingContent>,
    stored: Vec<NumberedObject>,
    /// Set when the importer saw another content than the tar-split has: from then on nothing is known.
    is_stopped: bool,
}

#[derive(Debug)]
struct WaitingContent {
    number: u64,
    size: u64,
    place: WaitingPlace,
}

/// An origin, of which a clone was made if that is possible.
#[derive(Debug)]
enum WaitingPlace {
    Unknown,
    Object(Digest),
    File(Arc<OwnedFd>),
    Clone(ClonedFile),
}

impl<'s> Origins<'s> {
    /// Returns a list whose files are cloned into a batch.
    #[must_use]
    pub fn stored_in(batch: &'s Batch<'s>) -> Self {
        Self { batch: Some(batch), queue: Mutex::default() }
    }

    /// Returns the contents that became objects, and forgets them.
    #[must_use]
    pub fn take_stored(&self) -> Vec<NumberedObject> {
        std::mem::take(&mut self.queue().stored)
    }

    /// Adds a content of which nothing was read yet.
    pub(crate) fn push(&self, number: u64, size: u64, origin: ContentOrigin) -> io::Result<()> {
        // The importer keeps short contents in the stream: its sink does not see them.
        if size <= INLINE_MAX || self.queue().is_stopped {
            return Ok(());
        }
        let place = match (origin, self.batch) {
            (ContentOrigin::Object(object), Some(_)) => WaitingPlace::Object(object),
            (ContentOrigin::File(file), Some(batch)) => match batch.clone_file(&file).map_err(io::Error::other)? {
                Some(clone) => WaitingPlace::Clone(clone),
                None => WaitingPlace::File(file),
            },
            _ => WaitingPlace::Unknown,
        };
        self.queue().waiting.push_back(WaitingContent { number, size, place });
        Ok(())
    }

    fn pop(&self, size: u64) -> Option<WaitingContent> {
        let next = self.queue().waiting.pop_front();
        if next.as_ref().is_none_or(|next| next.size != size) {
            self.stop();
            return None;
        }
        next
    }

    fn stop(&self) {
        let mut queue = self.queue();
        queue.is_stopped = true;
        queue.waiting.clear();
    }

    fn stored(&self, number: u64, digest: Digest) {
        self.queue().stored.push(NumberedObject { number, digest });
    }

    fn queue(&self) -> MutexGuard<'_, OriginQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receives the contents of one rebuilt archive, from one thread, and passes to another sink those that it must store.
#[derive(Clone, Copy)]
pub struct OriginSink<'s> {
    sink: &'s dyn LayerSink,
    origins: &'s Origins<'s>,
}

impl std::fmt::Debug for OriginSink<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("OriginSink").finish_non_exhaustive()
    }
}

impl<'s> OriginSink<'s> {
    /// Stores contents in the batch of the origins, which can use objects and clone files, and those that must be
    /// written in `sink`.
    #[must_use]
    pub fn new(sink: &'s dyn LayerSink, origins: &'s Origins<'s>) -> Self {
        Self { sink, origins }
    }

    fn put_known(&self, size: u64, content: &mut dyn BufRead, place: WaitingPlace) -> Result<Digest, Error> {
        match (place, self.origins.batch) {
            (WaitingPlace::Object(object), Some(batch)) if size > REREAD_MIN => {
                let digest = self.hash(size, content)?;
                if digest == object && batch.contains(&object, size)? {
                    return Ok(digest);
                }
                Err(changed("an object of the store is damaged or was removed while it was read"))
            }
            (WaitingPlace::Clone(clone), Some(batch)) => {
                let digest = self.hash(size, content)?;
                batch.put_clone(clone, digest)?;
                Ok(digest)
            }
            // The file may be in the store already. If not, it is read once more, to be cloned.
            (WaitingPlace::File(file), Some(batch)) if batch.may_clone(&file)? => {
                let digest = self.hash(size, content)?;
                if batch.contains(&digest, size)? {
                    return Ok(digest);
                }
                let (stored, _) = batch.put_file(&SourceFile::of(file.as_fd())?, &mut vec![0; READ_SIZE])?;
                if stored == digest {
                    return Ok(digest);
                }
                Err(changed("a file was changed while it was read"))
            }
            _ => self.sink.put(size, content),
        }
    }

    fn hash(&self, size: u64, content: &mut dyn BufRead) -> io::Result<Digest> {
        let mut hasher = Hasher::new(self.algorithm());
        each_piece(size, content, |piece| {
            hasher.update(piece);
            Ok(())
        })?;
        Ok(hasher.finish())
    }
}

fn changed(what: &str) -> Error {
    io::Error::other(format!("{what}: try again")).into()
}

impl LayerSink for OriginSink<'_> {
    fn algorithm(&self) -> Algorithm {
        self.sink.algorithm()
    }

    fn put(&self, size: u64, content: &mut dyn BufRead) -> Result<Digest, Error> {
        // The rebuilder opens a content when its first bytes are read.
        content.fill_buf()?;
        let Some(WaitingContent { number, place, .. }) = self.origins.pop(size) else {
            return self.sink.put(size, content);
        };
        let digest = self.put_known(size, content, place)?;
        self.origins.stored(number, digest);
        Ok(digest)
    }

    fn put_pieces(&self, write: &mut dyn FnMut(&mut dyn PieceSink) -> io::Result<()>) -> Result<Digest, Error> {
        // A sparse file, which is stored as it is in the archive and expanded. They are rare: lose what is known.
        self.origins.stop();
        self.sink.put_pieces(write)
    }
}
