//! Reading the contents of a commit for its tree, on several threads.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use libcomposefs_content::mutex::{into_inner, lock};
use libcomposefs_content::{Progress, SourceFile};
use libcomposefs_image::threads::with_helpers;
use libcomposefs_image::verity::Hasher;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_store::Batch;
use libcomposefs_sys::copy::READ_SIZE;
use std::io::Write as _;

use crate::content::ContentObject;
use crate::error::Error;
use crate::id::Id;
use crate::objects::FileHeader;
use crate::repo::Repo;

/// The facts about one content that the tree needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gathered {
    /// Owner, mode, xattrs and symlink target.
    pub header: FileHeader,
    /// Length of the content; 0 for a symlink.
    pub size: u64,
    /// Digest of the content, unless contents are skipped.
    pub digest: Option<Digest>,
}

/// The use that [`gather`] makes of the contents of files that are not empty.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ContentUse<'b> {
    /// Does not read contents: the image has no digests of files.
    Skip,
    /// Hashes contents with this algorithm, and compares them with their checksums.
    Digest(Algorithm),
    /// Compares contents with their checksums and stores them, sharing extents with the ostree repository if the file
    /// system can.
    Store(&'b Batch<'b>),
}

impl ContentUse<'_> {
    fn take(self, content: &ContentObject, buffer: &mut [u8]) -> Result<Option<Digest>, Error> {
        match self {
            ContentUse::Skip => Ok(None),
            ContentUse::Digest(algorithm) => digest(content, algorithm, buffer).map(Some),
            ContentUse::Store(batch) => store(content, batch, buffer).map(Some),
        }
    }
}

fn digest(content: &ContentObject, algorithm: Algorithm, buffer: &mut [u8]) -> Result<Digest, Error> {
    let mut hasher = Hasher::new(algorithm);
    content.read(buffer, |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    Ok(hasher.finish())
}

fn store(content: &ContentObject, batch: &Batch<'_>, buffer: &mut [u8]) -> Result<Digest, Error> {
    let Some(file) = content.plain() else {
        return store_deflated(content, batch, buffer);
    };
    let expected = digest(content, batch.store().algorithm(), buffer)?;
    let source = SourceFile::of(file).map_err(|error| Error::io(content.path(), error))?;
    let (digest, _) = batch.put_file(&source, buffer).map_err(|error| store_failed(content, error))?;
    if digest != expected {
        return Err(Error::malformed(content.path(), "the file changed while it was read"));
    }
    Ok(digest)
}

fn store_deflated(content: &ContentObject, batch: &Batch<'_>, buffer: &mut [u8]) -> Result<Digest, Error> {
    let mut refused = None;
    let written = batch.put_written(|out| {
        let mut hasher = Hasher::new(batch.store().algorithm());
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
        (Ok((digest, _)), None) => Ok(digest),
        (Err(error), None) => Err(store_failed(content, error)),
    }
}

fn store_failed(content: &ContentObject, source: libcomposefs_store::Error) -> Error {
    Error::Store { path: content.path().to_owned(), source: Box::new(source) }
}

/// Finds all contents, and digests or stores those of files that are not empty, as `content_use` selects. Reports the
/// length of each to `progress`.
///
/// # Errors
///
/// The first error found.
pub fn gather(
    repo: &Repo,
    contents: &[Id],
    content_use: ContentUse<'_>,
    threads: NonZeroUsize,
    progress: &dyn Progress,
) -> Result<Vec<Gathered>, Error> {
    let (next, failed, all) = (AtomicUsize::new(0), Mutex::new(None), Mutex::new(Vec::new()));
    let work = || {
        let (mut done, mut buffer) = (Vec::new(), vec![0; READ_SIZE]);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(id) = contents.get(index) else { break };
            match one(repo, id, content_use, &mut buffer) {
                Ok(gathered) => {
                    progress.bytes(gathered.size);
                    done.push((index, gathered));
                }
                Err(error) => {
                    next.store(contents.len(), Ordering::Relaxed);
                    lock(&failed).get_or_insert(error);
                    break;
                }
            }
        }
        lock(&all).append(&mut done);
    };
    with_helpers(threads, work, work);
    let mut all = into_inner(all);
    if let Some(error) = into_inner(failed) {
        return Err(error);
    }
    all.sort_unstable_by_key(|(index, _)| *index);
    Ok(all.into_iter().map(|(_, gathered)| gathered).collect())
}

fn one(repo: &Repo, id: &Id, content_use: ContentUse<'_>, buffer: &mut [u8]) -> Result<Gathered, Error> {
    let content = repo.content(id)?;
    let digest = match (content.is_file(), content.size) {
        (true, 1..) => content_use.take(&content, buffer)?,
        // An empty content is compared with its checksum too.
        (true, 0) => content.read(buffer, |_| Ok(())).map(|()| None)?,
        (false, _) => None,
    };
    Ok(Gathered { header: content.header, size: content.size, digest })
}
