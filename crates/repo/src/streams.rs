//! Streams: their links and names, and the targets of those (`docs/format/repository.md`, section 1).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use libcomposefs_image::Digest;
use rustix::fs::Dir;

use super::dir::{LinkEntry, read_link};
use super::link_target::{Leads, below};
use super::oci_stream_kind::OciStreamKind;
use super::own_name::is_own_name;
use super::walk::{RefEntry, RefWalk};
use super::{Repository, RepositoryError, io_error, layout};
use crate::broken_ref::BrokenRef;
use crate::broken_ref::settle;

/// A link that leads to the object of a stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamLink {
    /// Kind of the stream, if both the name and the text of the link are exactly those of a stream of an OCI image.
    /// Only such a stream can be untagged.
    pub(crate) kind: Option<OciStreamKind>,
    /// Path below `streams`.
    pub(crate) name: String,
    /// The object of the stream.
    pub(crate) digest: Digest,
}

/// The streams of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    /// The links of streams, sorted.
    pub(crate) links: Vec<StreamLink>,
    /// The names of each link of a stream, below `streams`: tags, referrers, and links that lead to that link. The link
    /// itself may be missing.
    pub(crate) names: BTreeMap<String, BTreeSet<String>>,
    /// Entries that cannot be interpreted.
    pub(crate) unclear: Vec<BrokenRef>,
}

impl Streams {
    /// Returns whether gc keeps a stream for its own sake: it has a name, or is not one of an OCI image. A
    /// [name of the kind that only this program writes](super::own_name) does not count: it is for other programs, and
    /// a manifest keeps the stream.
    pub(crate) fn is_root(&self, link: &StreamLink) -> bool {
        link.kind.is_none() || self.names_of(link).next().is_some()
    }

    /// Returns the names that keep a stream, as paths below `streams`.
    pub(crate) fn names_of(&self, link: &StreamLink) -> impl Iterator<Item = &String> {
        let names = self.names.get(&link.name).into_iter().flatten();
        names.filter(move |path| !link.kind.is_some_and(|kind| is_own_name(kind, path)))
    }

    /// Lists the streams that gc keeps for their own sake.
    pub(crate) fn roots(&self) -> Vec<&StreamLink> {
        self.links.iter().filter(|link| self.is_root(link)).collect()
    }
}

impl Repository {
    /// Lists the links of streams and their names, in any spelling.
    ///
    /// # Errors
    ///
    /// If a directory cannot be read.
    pub(crate) fn streams(&self) -> Result<Streams, RepositoryError> {
        let mut streams = Streams::default();
        let Some(directory) = self.dir.open_dir(layout::STREAMS)? else { return Ok(streams) };
        let path = self.dir.path.join(layout::STREAMS);
        let (mut others, mut known) = (Vec::new(), BTreeSet::new());
        for entry in Dir::read_from(&directory).map_err(io_error("list", &path))? {
            let entry = entry.map_err(io_error("list", &path))?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || name == layout::REFS.as_bytes() {
                continue;
            }
            let below = [layout::STREAMS.as_bytes(), b"/", name].concat();
            let found =
                read_link(directory.as_fd(), name).map_err(io_error("read", path.join(OsStr::from_bytes(name))))?;
            let digest = match &found {
                LinkEntry::Nothing => continue,
                LinkEntry::Link(text) => self.object_of_link(text),
                LinkEntry::Other => None,
            };
            match digest {
                Some(digest) => {
                    let name = String::from_utf8_lossy(name).into_owned();
                    streams.links.push(StreamLink { kind: OciStreamKind::of_name(&name), name, digest });
                    known.insert(below);
                }
                None => others.push(BrokenRef::new(&self.dir, &below, found, true)),
            }
        }
        let names = RefWalk::of(&self.dir, &format!("{}/{}", layout::STREAMS, layout::REFS))?;
        known.extend(names.folders);
        for RefEntry { path: entry, found } in names.entries {
            let folder = entry.iter().rposition(|byte| *byte == b'/').map_or(&entry[..0], |slash| &entry[..slash]);
            let target = match &found {
                LinkEntry::Link(text) => below(folder, text),
                _ => None,
            };
            match target.as_deref().and_then(name_of_stream) {
                // The link of the stream is read by itself. If it is missing, its name keeps nothing.
                Some(target) => streams.put_name(target, &entry),
                None => others.push(BrokenRef::new(&self.dir, &entry, found, true)),
            }
        }
        for (below, error) in names.unreadable {
            let entry = BrokenRef::new(&self.dir, &below, LinkEntry::Other, true);
            others.push(BrokenRef { found: format!("cannot be read ({error})"), ..entry });
        }
        settle(&mut others, known, |entry| self.dir.below(&entry.path));
        for entry in others {
            let own = self.dir.below(&entry.path);
            match &entry.leads {
                // A link in another spelling is not the one of a stream of an OCI image, whatever its name.
                Leads::To(digest) => {
                    streams.links.push(StreamLink { kind: None, name: below_streams(&own), digest: *digest });
                }
                Leads::Entry(target) => {
                    if let Some(target) = name_of_stream(target) {
                        streams.put_name(target, &own);
                    }
                }
                Leads::Unclear => streams.unclear.push(entry),
            }
        }
        streams.links.sort();
        streams.unclear.sort();
        Ok(streams)
    }

    /// Returns the object that the link of a stream leads to, if its text has exactly that form.
    pub(crate) fn object_of_link(&self, text: &[u8]) -> Option<Digest> {
        layout::parse_object_link(text).filter(|digest| digest.algorithm() == self.algorithm())
    }

    /// Returns whether the link of a stream still leads to the object that was read before.
    pub(crate) fn has_stream_link(&self, link: &StreamLink) -> Result<bool, RepositoryError> {
        let Some(directory) = self.dir.open_dir(layout::STREAMS)? else { return Ok(false) };
        let path = || self.dir.path.join(layout::STREAMS).join(&link.name);
        match read_link(directory.as_fd(), link.name.as_bytes()).map_err(io_error("read", path()))? {
            LinkEntry::Link(text) => Ok(self.object_of_link(&text) == Some(link.digest)),
            LinkEntry::Nothing | LinkEntry::Other => Ok(false),
        }
    }
}

impl Streams {
    /// Adds the path of an entry, below the repository, to the names of the link that it leads to.
    fn put_name(&mut self, target: &[u8], path: &[u8]) {
        let target = String::from_utf8_lossy(target).into_owned();
        self.names.entry(target).or_default().insert(below_streams(path));
    }
}

/// Returns a path below `streams`, for messages.
fn below_streams(path: &[u8]) -> String {
    let below = path.strip_prefix(layout::STREAMS.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
    String::from_utf8_lossy(below.unwrap_or(path)).into_owned()
}

/// Returns the name below `streams`, if a path below the repository is the one of the link of a stream.
fn name_of_stream(path: &[u8]) -> Option<&[u8]> {
    let name = path.strip_prefix(layout::STREAMS.as_bytes())?.strip_prefix(b"/")?;
    (name != layout::REFS.as_bytes() && !name.contains(&b'/')).then_some(name)
}
