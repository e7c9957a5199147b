//! A remote in a local directory.

mod files;
mod list;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use files::{NewFile, make_parents, open_regular, sync_parent};

use crate::{
    Abilities, CompareAndSwap, CreateOutcome, ExpectedFile, FileKind, FileName, FileVersion, ListedFile, NewContent,
    RangeAnswer, RangeSink, ReadFile, RefReplacement, RemoteError, RemoteStore, Sha256Digest,
};

/// Name of the file that is locked while a file is replaced.
const LOCK: &str = "composefs-remote.lock";
/// Name of a file that every repository has.
const REPOSITORY_META: &str = "meta.json";
/// Number of bytes that are read at once.
const PIECE: usize = 256 << 10;

/// A remote in a directory of this machine, for example on a removable disk or a network file system.
#[derive(Debug)]
pub struct DirectoryStore {
    path: PathBuf,
    location: String,
}

impl DirectoryStore {
    /// Opens a directory. It need not exist: the first push makes it, in an existing directory.
    ///
    /// # Errors
    ///
    /// [`RemoteError`] if the path is a repository or no directory.
    pub fn open(path: &Path) -> Result<Self, RemoteError> {
        let location = path.display().to_string();
        let wrong = |reason: &str| RemoteError::new(location.clone(), "use", reason);
        match path.metadata() {
            Ok(metadata) if !metadata.is_dir() => return Err(wrong("it is no directory")),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(wrong(&error.to_string())),
            _ => {}
        }
        if path.join(REPOSITORY_META).is_file() {
            let remedy = "copy from it with `composefs sync`, and to it by `composefs sync` there";
            return Err(wrong("it is a repository, not a remote").remedy(remedy));
        }
        Ok(Self { path: path.to_owned(), location })
    }

    fn path_of(&self, name: &FileName) -> PathBuf {
        self.path.join(name.path())
    }

    fn error(&self, step: &'static str, name: &FileName, source: io::Error) -> RemoteError {
        let reason = source.to_string();
        RemoteError::new(self.location.clone(), step, reason).of(name).caused_by(source)
    }

    /// Opens a file with its length; `None` if it is missing.
    fn open_file(&self, name: &FileName) -> Result<Option<(File, u64)>, RemoteError> {
        open_regular(&self.path_of(name)).map_err(|error| self.error("open", name, error))
    }

    /// Writes a file that cannot be seen before it is complete.
    fn write(&self, name: &FileName, fill: &mut dyn FnMut(&mut File) -> io::Result<()>) -> io::Result<NewFile> {
        let path = self.path_of(name);
        make_parents(&self.path, &path)?;
        NewFile::write(&path, fill)
    }
}

impl RemoteStore for DirectoryStore {
    fn location(&self) -> &str {
        &self.location
    }

    fn abilities(&self) -> Abilities {
        Abilities { read_only: None, no_gc: None, compare_and_swap: CompareAndSwap::Exact, is_near: true }
    }

    fn read(&self, name: &FileName, limit: u64) -> Result<Option<ReadFile>, RemoteError> {
        let Some((file, length)) = self.open_file(name)? else { return Ok(None) };
        let mut bytes = Vec::new();
        if length <= limit {
            // The file may grow meanwhile.
            let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
            read.map_err(|error| self.error("read", name, error))?;
        }
        if length > limit || bytes.len() as u64 > limit {
            let reason = format!("it has more than {limit} bytes");
            return Err(RemoteError::new(self.location.clone(), "read", reason).of(name));
        }
        let version = Some(FileVersion(Sha256Digest::of(&bytes).to_hex()));
        Ok(Some(ReadFile { bytes, version }))
    }

    fn read_range(
        &self,
        name: &FileName,
        range: Range<u64>,
        sink: &mut dyn RangeSink,
    ) -> Result<Option<RangeAnswer>, RemoteError> {
        let Some((mut file, _)) = self.open_file(name)? else { return Ok(None) };
        let mut copy = || {
            file.seek(SeekFrom::Start(range.start))?;
            sink.begin(RangeAnswer::Part)?;
            let (mut left, mut buffer) = (range.end.saturating_sub(range.start), vec![0; PIECE]);
            while left > 0 {
                let room = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                let read = file.read(&mut buffer[..room])?;
                if read == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends too early"));
                }
                sink.bytes(&buffer[..read])?;
                left -= read as u64;
            }
            Ok(())
        };
        copy().map_err(|error| self.error("read", name, error))?;
        Ok(Some(RangeAnswer::Part))
    }

    fn length(&self, name: &FileName) -> Result<Option<u64>, RemoteError> {
        Ok(self.open_file(name)?.map(|(_, length)| length))
    }

    fn create(&self, name: &FileName, content: &mut dyn NewContent) -> Result<CreateOutcome, RemoteError> {
        if self.length(name)?.is_some() {
            return Ok(CreateOutcome::Existed);
        }
        let expected = content.length();
        let mut fill = |file: &mut File| {
            content.rewind()?;
            match io::copy(&mut content.take(expected), file)? {
                copied if copied == expected => Ok(()),
                _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the content ends too early")),
            }
        };
        let created = self.write(name, &mut fill).and_then(NewFile::link);
        let is_new = created.map_err(|error| self.error("write", name, error))?;
        Ok(if is_new { CreateOutcome::New } else { CreateOutcome::Existed })
    }

    fn replace(&self, name: &FileName, bytes: &[u8], expected: &ExpectedFile) -> Result<RefReplacement, RemoteError> {
        let failed = |error| self.error("replace", name, error);
        let mut fill = |file: &mut File| io::Write::write_all(file, bytes);
        let _locked = self.lock().map_err(failed)?;
        let now = self.read(name, u64::from(u32::MAX))?.and_then(|file| file.version);
        let is_expected = match (expected, &now) {
            (ExpectedFile::Absent, None) => true,
            (ExpectedFile::Version(version), Some(now)) => version == now,
            _ => false,
        };
        if !is_expected {
            return Ok(RefReplacement::Changed);
        }
        self.write(name, &mut fill).and_then(NewFile::replace).map_err(failed)?;
        Ok(RefReplacement::Done(Some(FileVersion(Sha256Digest::of(bytes).to_hex()))))
    }

    fn list(&self, kind: FileKind) -> Result<Vec<ListedFile>, RemoteError> {
        list::files(&self.path, kind).map_err(|error| {
            let reason = format!("the directory {}: {error}", kind.directory());
            RemoteError::new(self.location.clone(), "list", reason).caused_by(error)
        })
    }

    fn delete(&self, name: &FileName) -> Result<(), RemoteError> {
        let failed = |error| self.error("remove", name, error);
        let _locked = self.lock().map_err(failed)?;
        let path = self.path_of(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result.map_err(failed)?,
        }
        sync_parent(&path).map_err(failed)?;
        if matches!(name, FileName::Ref(_)) {
            // Directories that are empty now: another ref may have the name.
            let root = self.path.join(FileKind::Ref.directory());
            path.ancestors().skip(1).take_while(|parent| **parent != root).all(|dir| std::fs::remove_dir(dir).is_ok());
        }
        Ok(())
    }
}

impl DirectoryStore {
    /// Locks the directory until the file is dropped.
    fn lock(&self) -> io::Result<File> {
        let path = self.path.join(LOCK);
        make_parents(&self.path, &path)?;
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests;
