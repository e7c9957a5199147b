//! Streams of other programs: their links and names, and the targets of those.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

use libcomposefs_image::Digest;
use rustix::fs::Dir;

use super::dir::{LinkEntry, read_link};
use super::link_target::{Leads, below};
use super::walk::{RefEntry, RefWalk};
use super::{Repository, RepositoryError, io_error, layout};
use crate::broken_ref::BrokenRef;
use crate::broken_ref::settle;

/// The streams of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streams {
    /// The path below `streams`, for messages, and the object of each stream.
    pub(crate) links: Vec<(String, Digest)>,
    /// Entries that cannot be interpreted.
    pub(crate) unclear: Vec<BrokenRef>,
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
                LinkEntry::Link(text) => layout::parse_object_link(text).filter(|d| d.algorithm() == self.algorithm()),
                LinkEntry::Other => None,
            };
            match digest {
                Some(digest) => {
                    streams.links.push((String::from_utf8_lossy(name).into_owned(), digest));
                    known.insert(below);
                }
                None => others.push(BrokenRef::new(&self.dir, &below, found, true)),
            }
        }
        let names = RefWalk::of(&self.dir, &format!("{}/{}", layout::STREAMS, layout::REFS))?;
        known.extend(names.folders);
        for RefEntry { path: entry, found } in names.entries {
            let folder = entry.iter().rposition(|byte| *byte == b'/').map_or(&entry[..0], |slash| &entry[..slash]);
            match &found {
                // The link of the stream is read by itself. If it is missing, its name keeps nothing.
                LinkEntry::Link(text) if below(folder, text).is_some_and(|path| is_of_stream(&path)) => {}
                _ => others.push(BrokenRef::new(&self.dir, &entry, found, true)),
            }
        }
        for (below, error) in names.unreadable {
            let entry = BrokenRef::new(&self.dir, &below, LinkEntry::Other, true);
            others.push(BrokenRef { found: format!("cannot be read ({error})"), ..entry });
        }
        settle(&mut others, known, |entry| self.dir.below(&entry.path));
        for entry in others {
            match entry.leads {
                Leads::To(digest) => {
                    let name = entry.path.strip_prefix(&path).unwrap_or(&entry.path);
                    streams.links.push((name.to_string_lossy().into_owned(), digest));
                }
                Leads::Entry(_) => {}
                Leads::Unclear => streams.unclear.push(entry),
            }
        }
        streams.links.sort();
        streams.unclear.sort();
        Ok(streams)
    }
}

/// Returns whether a path below the repository is that of the link of a stream.
fn is_of_stream(path: &[u8]) -> bool {
    let name = path.strip_prefix(layout::STREAMS.as_bytes()).and_then(|rest| rest.strip_prefix(b"/"));
    name.is_some_and(|name| name != layout::REFS.as_bytes() && !name.contains(&b'/'))
}
