//! The streams of an open repository: looked up, tagged and untagged.

use libcomposefs_image::Digest;
use libcomposefs_store::{Object, ObjectError};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::error::io_error;
use crate::lock::Locked;
use crate::stream_link::{self, LinkedStream};
use crate::{Repository, RepositoryError, StreamName, StreamTag};

impl Repository {
    /// Returns the object of a stream; `None` if the repository does not have the stream.
    ///
    /// # Errors
    ///
    /// If the link cannot be read.
    pub fn stream(&self, name: &StreamName) -> Result<Option<Digest>, RepositoryError> {
        stream_link::find(&self.dir, name)
    }

    /// Lists the tags of OCI images, sorted, each with the stream of its manifest.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn stream_tags(&self) -> Result<Vec<(StreamTag, StreamName)>, RepositoryError> {
        stream_link::tags(&self.dir)
    }

    /// Returns the stream that a tag leads to; `None` if there is no such tag.
    ///
    /// # Errors
    ///
    /// If the tag cannot be read.
    pub fn resolve_stream_tag(&self, tag: &StreamTag) -> Result<Option<StreamName>, RepositoryError> {
        stream_link::resolve(&self.dir, tag)
    }

    /// Gives a stream of the repository a tag. Returns false if the repository does not have the stream. The tag is on
    /// disk when this returns.
    ///
    /// # Errors
    ///
    /// If the tag cannot be written.
    pub fn tag_stream(&self, name: &StreamName, tag: &StreamTag) -> Result<bool, RepositoryError> {
        let lease = self.lease()?;
        if let Some(digest) = self.stream(name)? {
            lease.protect(&[digest])?;
        }
        let locked = Locked::shared(&self.dir)?;
        let Some(stream) = LinkedStream::find(&self.dir, &locked, name)? else { return Ok(false) };
        stream_link::write_tags(&self.dir, &lease, &locked, &[(tag, &stream)])?;
        Ok(true)
    }

    /// Removes a tag. The stream stays until the next gc. Returns false if there is no such tag. The change is on disk
    /// when this returns.
    ///
    /// # Errors
    ///
    /// If the tag cannot be removed.
    pub fn untag_stream(&self, tag: &StreamTag) -> Result<bool, RepositoryError> {
        self.expect_writable()?;
        stream_link::remove_tag(&self.dir, tag)
    }

    /// Opens an object, to be read by [`Object::copy_verified`].
    ///
    /// # Errors
    ///
    /// [`RepositoryError::Object`], if the object is missing or no regular file.
    pub fn object(&self, digest: &Digest) -> Result<Object, RepositoryError> {
        let path = self.objects.path_of(digest);
        let failed = |source| ObjectError::Io { step: "open", path: path.clone(), source };
        let Some(file) = self.objects.open_object(digest)? else { return Err(failed(Errno::NOENT.into()).into()) };
        let stat = fstat(&file).map_err(io_error("stat", &path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(failed(std::io::Error::other("it is no regular file")).into());
        }
        Ok(Object::new(file, path, &stat))
    }

    /// Reads an object of at most `max` bytes into memory, and compares its digest.
    ///
    /// # Errors
    ///
    /// If the object is missing, damaged or larger, or cannot be read.
    pub fn read_object(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, RepositoryError> {
        let object = self.object(digest)?;
        if object.size() > max {
            let error = std::io::Error::other(format!("it has {} bytes, more than {max}", object.size()));
            return Err(io_error("read", object.path())(error));
        }
        let mut bytes = Vec::new();
        object.copy_verified(digest, |piece| {
            bytes.extend_from_slice(piece);
            Ok::<_, ObjectError>(())
        })?;
        Ok(bytes)
    }
}
