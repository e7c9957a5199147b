//! What the tree of a commit needs of its contents, by several threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use libcomposefs_content::SourceFile;
use libcomposefs_image::helpers::with_helpers;
use libcomposefs_image::verity::Hasher;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_store::Batch;
use std::io::Write as _;

use crate::content::Content;
use crate::error::Error;
use crate::id::Id;
use crate::objects::FileHeader;
use crate::repo::Repo;

/// How much is read at a time: some of it is still in the core's cache when it is hashed.
const PIECE: usize = 256 << 10;

/// What was gathered of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// Owner, mode, attributes, target.
    pub header: FileHeader,
    /// The size; 0 for a symlink.
    pub size: u64,
    /// The digest, as far as the sink gives one.
    pub digest: Option<Digest>,
}

/// What is done with the contents of files that are not empty.
pub trait ContentSink: Sync {
    /// Takes one, from several threads at once.
    ///
    /// # Errors
    ///
    /// Whatever ends it all.
    fn take(&self, content: &Content, buffer: &mut [u8]) -> Result<Option<Digest>, Error>;
}

/// Reads no content: the image has no digests of files.
#[derive(Clone, Copy, Debug)]
pub struct HeadersOnly;

impl ContentSink for HeadersOnly {
    fn take(&self, _: &Content, _: &mut [u8]) -> Result<Option<Digest>, Error> {
        Ok(None)
    }
}

/// Hashes contents, and compares them with their checksums.
#[derive(Clone, Copy, Debug)]
pub struct DigestOnly(pub Algorithm);

impl ContentSink for DigestOnly {
    fn take(&self, content: &Content, buffer: &mut [u8]) -> Result<Option<Digest>, Error> {
        let mut hasher = Hasher::new(self.0);
        content.read(buffer, |piece| {
            hasher.update(piece);
            Ok(())
        })?;
        Ok(Some(hasher.finish()))
    }
}

/// Stores contents, sharing extents with the repository of ostree where the file system can.
#[derive(Clone, Copy, Debug)]
pub struct IntoBatch<'b, 's> {
    /// Where they go.
    pub batch: &'b Batch<'s>,
    /// The algorithm of the store.
    pub algorithm: Algorithm,
}

impl ContentSink for IntoBatch<'_, '_> {
    fn take(&self, content: &Content, buffer: &mut [u8]) -> Result<Option<Digest>, Error> {
        let failed = |source| Error::Store { path: content.path().to_owned(), source: Box::new(source) };
        let Some(file) = content.plain() else {
            return self.take_deflated(content, buffer);
        };
        let expected = DigestOnly(self.algorithm).take(content, buffer)?;
        let source = SourceFile::of(file).map_err(|error| Error::io(content.path(), error))?;
        let (digest, _) = self.batch.put_file(&source, buffer).map_err(failed)?;
        if Some(digest) != expected {
            return Err(Error::malformed(content.path(), "it was changed while it was read"));
        }
        Ok(Some(digest))
    }
}

impl IntoBatch<'_, '_> {
    fn take_deflated(&self, content: &Content, buffer: &mut [u8]) -> Result<Option<Digest>, Error> {
        let mut refused = None;
        let written = self.batch.put_written(|out| {
            let mut hasher = Hasher::new(self.algorithm);
            let read = content.read(buffer, |piece| {
                hasher.update(piece);
                out.write_all(piece)
            });
            read.map(|()| hasher.finish()).map_err(|error| {
                refused = Some(error);
                std::io::ErrorKind::InvalidData.into()
            })
        });
        match (written, refused) {
            (_, Some(error)) => Err(error),
            (Ok((digest, _)), None) => Ok(Some(digest)),
            (Err(source), None) => Err(Error::Store { path: content.path().to_owned(), source: Box::new(source) }),
        }
    }
}

/// Finds all contents, and has the sink take those of files that are not empty. `progress` is told the size of each.
///
/// # Errors
///
/// The first thing that is wrong.
pub fn gather(
    repo: &Repo,
    contents: &[Id],
    sink: &dyn ContentSink,
    threads: NonZeroUsize,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Vec<Gathered>, Error> {
    let (next, failed, all) = (AtomicUsize::new(0), Mutex::new(None), Mutex::new(Vec::new()));
    let work = || {
        let (mut done, mut buffer) = (Vec::new(), vec![0; PIECE]);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(id) = contents.get(index) else { break };
            match one(repo, id, sink, &mut buffer) {
                Ok(gathered) => {
                    progress(gathered.size);
                    done.push((index, gathered));
                }
                Err(error) => {
                    next.store(contents.len(), Ordering::Relaxed);
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    break;
                }
            }
        }
        all.lock().unwrap_or_else(PoisonError::into_inner).append(&mut done);
    };
    with_helpers(threads, work, work);
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    all.sort_unstable_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, gathered)| gathered).collect())
}

fn one(repo: &Repo, id: &Id, sink: &dyn ContentSink, buffer: &mut [u8]) -> Result<Gathered, Error> {
    let content = repo.content(id)?;
    let digest = match (content.is_file(), content.size) {
        (true, 1..) => sink.take(&content, buffer)?,
        // What is empty is compared all the same.
        (true, 0) => content.read(buffer, |_| Ok(())).map(|()| None)?,
        (false, _) => None,
    };
    Ok(Gathered { header: content.header, size: content.size, digest })
}
