//! Stream links: `streams/NAME`, and the tags below `streams/refs/oci`.
//!
//! As for images, the types hold the order of publishing: a link can only be written of a [`CompleteStream`], and a tag
//! only to a [`LinkedStream`]; both only while the repository is [`Locked`].

use std::os::fd::AsFd;

use libcomposefs_image::Digest;
use libcomposefs_store::ObjectDir;
use rustix::fs::{AtFlags, Dir, fsync, unlinkat};
use rustix::io::Errno;

use crate::dir::{LinkEntry, RepoDir, put_link, read_link};
use crate::error::io_error;
use crate::lease::Lease;
use crate::lock::{Locked, LockedStreams};
use crate::{RepositoryError, StreamName, StreamTag, layout};

/// A stream whose object, and all objects that it needs, were found in the repository.
#[derive(Debug)]
pub(crate) struct CompleteStream {
    name: StreamName,
    digest: Digest,
}

/// A stream that has a link, which is on disk.
#[derive(Debug)]
pub(crate) struct LinkedStream(StreamName);

impl CompleteStream {
    /// Checks streams and the objects that they need. If any object is missing, returns the missing ones, sorted.
    pub(crate) fn check_all(
        objects: &ObjectDir,
        streams: Vec<(StreamName, Digest)>,
        needed: impl Iterator<Item = Digest>,
    ) -> Result<Vec<Self>, Vec<Digest>> {
        let mut missing: Vec<Digest> = needed.chain(streams.iter().map(|(_, digest)| *digest)).collect();
        missing.sort_unstable();
        missing.dedup();
        missing.retain(|digest| objects.try_stat(digest).is_err());
        if !missing.is_empty() {
            return Err(missing);
        }
        Ok(streams.into_iter().map(|(name, digest)| Self { name, digest }).collect())
    }

    /// Writes the link of the stream, or replaces it if it leads to another object. The link is on disk when this
    /// returns.
    pub(crate) fn link(
        self,
        dir: &RepoDir,
        lease: &Lease,
        _locked: &LockedStreams,
    ) -> Result<LinkedStream, RepositoryError> {
        let Self { name, digest } = self;
        let directory = dir.make_dir(layout::STREAMS)?;
        let path = dir.path.join(layout::STREAMS).join(name.as_str());
        let text = layout::image_link(&digest).into_bytes();
        let found = read_link(directory.as_fd(), name.as_str().as_bytes()).map_err(io_error("read", &path))?;
        if found == LinkEntry::Link(text.clone()) {
            // The process that wrote it may not have synced it.
            fsync(&directory).map_err(io_error("sync the directory of", &path))?;
        } else {
            put_link(directory.as_fd(), name.as_str(), &text, lease.temporary_name(), &path)?;
        }
        Ok(LinkedStream(name))
    }
}

impl LinkedStream {
    /// Finds a stream of the repository; `None` if it has no link.
    pub(crate) fn find(dir: &RepoDir, _locked: &Locked, name: &StreamName) -> Result<Option<Self>, RepositoryError> {
        Ok(find(dir, name)?.map(|_| Self(name.clone())))
    }

    pub(crate) fn name(&self) -> &StreamName {
        &self.0
    }
}

/// Returns the first stream whose link does not lead to the object that is expected.
pub(crate) fn find_changed<'e>(
    dir: &RepoDir,
    expected: &'e [(StreamName, Option<Digest>)],
    _locked: &LockedStreams,
) -> Result<Option<&'e StreamName>, RepositoryError> {
    for (name, digest) in expected {
        if find(dir, name)? != *digest {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Returns the object of a stream.
pub(crate) fn find(dir: &RepoDir, name: &StreamName) -> Result<Option<Digest>, RepositoryError> {
    let Some(directory) = dir.open_dir(layout::STREAMS)? else { return Ok(None) };
    let path = || dir.path.join(layout::STREAMS).join(name.as_str());
    let found = read_link(directory.as_fd(), name.as_str().as_bytes()).map_err(io_error("read", path()))?;
    Ok(match found {
        LinkEntry::Link(text) => layout::parse_object_link(&text).filter(|digest| digest.algorithm() == dir.algorithm),
        LinkEntry::Nothing | LinkEntry::Other => None,
    })
}

/// Lists the tags of OCI images, sorted, each with the stream that it leads to. Entries in another form are left out.
pub(crate) fn tags(dir: &RepoDir) -> Result<Vec<(StreamTag, StreamName)>, RepositoryError> {
    let mut tags = Vec::new();
    let Some(directory) = dir.open_dir(layout::OCI_TAGS)? else { return Ok(tags) };
    let path = dir.path.join(layout::OCI_TAGS);
    for entry in Dir::read_from(&directory).map_err(io_error("list", &path))? {
        let entry = entry.map_err(io_error("list", &path))?;
        let name = entry.file_name().to_bytes();
        let LinkEntry::Link(text) = read_link(directory.as_fd(), name).map_err(io_error("read", &path))? else {
            continue;
        };
        let tag = std::str::from_utf8(name).ok().and_then(StreamTag::from_file_name);
        if let (Some(tag), Some(name)) = (tag, parse_tag_link(&text)) {
            tags.push((tag, name));
        }
    }
    tags.sort();
    Ok(tags)
}

/// Returns the stream that a tag leads to.
pub(crate) fn resolve(dir: &RepoDir, tag: &StreamTag) -> Result<Option<StreamName>, RepositoryError> {
    Ok(match read_tag(dir, tag)? {
        LinkEntry::Link(text) => parse_tag_link(&text),
        LinkEntry::Nothing | LinkEntry::Other => None,
    })
}

fn read_tag(dir: &RepoDir, tag: &StreamTag) -> Result<LinkEntry, RepositoryError> {
    let Some(directory) = dir.open_dir(layout::OCI_TAGS)? else { return Ok(LinkEntry::Nothing) };
    let path = || dir.path.join(layout::OCI_TAGS).join(tag.file_name());
    read_link(directory.as_fd(), tag.file_name().as_bytes()).map_err(io_error("read", path()))
}

/// Writes tags of streams that the lease protects. They are on disk when this returns. If a tag cannot be written,
/// those written before it are restored.
pub(crate) fn write_tags(
    dir: &RepoDir,
    lease: &Lease,
    _locked: &Locked,
    tags: &[(&StreamTag, &LinkedStream)],
) -> Result<(), RepositoryError> {
    let mut before = Vec::new();
    for (tag, stream) in tags {
        let written = read_tag(dir, tag).and_then(|found| {
            before.push(found);
            put_tag(dir, lease, tag, tag_link(stream.name()).as_bytes())
        });
        if let Err(error) = written {
            for ((tag, stream), before) in tags.iter().zip(before).rev() {
                put_back(dir, lease, tag, stream.name(), before)?;
            }
            return Err(error);
        }
    }
    Ok(())
}

fn put_tag(dir: &RepoDir, lease: &Lease, tag: &StreamTag, text: &[u8]) -> Result<(), RepositoryError> {
    let directory = dir.make_dir(layout::OCI_TAGS)?;
    let path = dir.path.join(layout::OCI_TAGS).join(tag.file_name());
    put_link(directory.as_fd(), &tag.file_name(), text, lease.temporary_name(), &path)
}

fn put_back(
    dir: &RepoDir,
    lease: &Lease,
    tag: &StreamTag,
    stream: &StreamName,
    before: LinkEntry,
) -> Result<(), RepositoryError> {
    let ours = LinkEntry::Link(tag_link(stream).into_bytes());
    // The tag was not written, or another command has written it since.
    if before == ours || read_tag(dir, tag)? != ours {
        return Ok(());
    }
    match before {
        LinkEntry::Link(text) => put_tag(dir, lease, tag, &text),
        LinkEntry::Nothing | LinkEntry::Other => remove_tag(dir, tag).map(drop),
    }
}

/// Removes a tag, durably. Returns false if the tag does not exist.
pub(crate) fn remove_tag(dir: &RepoDir, tag: &StreamTag) -> Result<bool, RepositoryError> {
    let Some(directory) = dir.open_dir(layout::OCI_TAGS)? else { return Ok(false) };
    let path = dir.path.join(layout::OCI_TAGS).join(tag.file_name());
    match unlinkat(&directory, tag.file_name(), AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(io_error("remove", path)(errno)),
    }
    fsync(&directory).map_err(io_error("sync the directory of", &path))?;
    Ok(true)
}

fn tag_link(stream: &StreamName) -> String {
    format!("../../{stream}")
}

fn parse_tag_link(text: &[u8]) -> Option<StreamName> {
    std::str::from_utf8(text.strip_prefix(b"../../")?).ok()?.parse().ok()
}
