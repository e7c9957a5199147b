//! Which stream refers to which, and the names that keep a stream.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use libcomposefs_image::Digest;

use super::digest_set::DigestSet;
use super::named_parts::NamedParts;
use super::oci_stream_kind::{OciStreamKind, tag_of_path};
use super::streams::{StreamLink, Streams};
use super::{Repository, RepositoryError, layout};

/// A stream that refers to an object, an image or another stream, or is it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamKeeper {
    /// Path of the stream below `streams`.
    pub name: String,
    /// Names that keep the stream, sorted: tags, and paths of other names below the repository.
    pub tags: Vec<String>,
    /// The name at which the shortest way to the stream begins. `None` if the way begins at a stream that is kept
    /// without a name, as it is not one of an OCI image.
    pub from: Option<String>,
    /// The shortest way to the stream: names of streams, this one at the end. Empty if nothing keeps the stream.
    pub path: Vec<String>,
}

impl StreamKeeper {
    /// Returns whether gc would keep the stream at any age.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !self.path.is_empty()
    }
}

/// All streams of a repository, with what each of them refers to.
#[derive(Debug)]
pub(crate) struct StreamGraph {
    streams: Streams,
    /// For each link: the digests of streams, and of what was asked for, that are in the stream.
    found: Vec<BTreeSet<Digest>>,
    /// For each link: the links of streams that refer to it.
    needed_by: Vec<BTreeSet<usize>>,
}

impl StreamGraph {
    /// Reads all streams. Each is searched for the digests of all streams and for those in `others`.
    ///
    /// # Errors
    ///
    /// If a stream cannot be opened or read. A stream of an unknown form is searched too.
    pub(crate) fn read(repository: &Repository, others: &[Digest]) -> Result<Self, RepositoryError> {
        let streams = repository.streams()?;
        let mut wanted = DigestSet::new(repository.algorithm());
        let mut places: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        for (place, link) in streams.links.iter().enumerate() {
            wanted.insert(&link.digest);
            places.entry(link.digest).or_default().push(place);
        }
        for digest in others {
            wanted.insert(digest);
        }
        let parts = NamedParts::of(&streams);
        let mut graph = Self { found: Vec::new(), needed_by: vec![BTreeSet::new(); streams.links.len()], streams };
        for (place, link) in graph.streams.links.iter().enumerate() {
            let (mut found, mut named) = (BTreeSet::new(), Vec::new());
            if let Ok(Some(stream)) = repository.open_stream(&link.digest)? {
                let len = repository.algorithm().digest_len();
                for raw in stream.windows(len, |window| wanted.contains_raw(window))? {
                    found.extend(Digest::new(repository.algorithm(), &raw));
                }
                // gc keeps what the text names too.
                if let Ok(tables) = stream.tables(repository.algorithm())? {
                    named = parts.named_by(repository, &link.name, &stream, &tables)?.unwrap_or_default();
                }
            }
            for needed in found.iter().flat_map(|digest| places.get(digest).into_iter().flatten()).chain(&named) {
                if let Some(by) = graph.needed_by.get_mut(*needed).filter(|_| *needed != place) {
                    by.insert(place);
                }
            }
            graph.found.push(found);
        }
        Ok(graph)
    }

    /// Returns the streams of a digest, or those that contain it.
    pub(crate) fn keepers_of(&self, digest: &Digest) -> Vec<StreamKeeper> {
        let links = self.streams.links.iter().zip(&self.found).enumerate();
        let keepers = links.filter(|(_, (link, found))| link.digest == *digest || found.contains(digest));
        keepers.map(|(place, _)| self.keeper(place)).collect()
    }

    /// Returns the stream of this name, with what keeps it.
    pub(crate) fn keeper_of(&self, name: &str) -> Option<StreamKeeper> {
        self.streams.links.iter().position(|link| link.name == name).map(|place| self.keeper(place))
    }

    /// Finds all names from which a stream is reached, and the shortest way from one of them.
    fn keeper(&self, place: usize) -> StreamKeeper {
        let link = |place: usize| self.streams.links.get(place);
        let (mut tags, mut from, mut path) = (BTreeSet::new(), None, Vec::new());
        // Each stream with the next one on the way down.
        let mut below: BTreeMap<usize, usize> = BTreeMap::new();
        let (mut waiting, mut seen) = (VecDeque::from([place]), BTreeSet::from([place]));
        while let Some(here) = waiting.pop_front() {
            let Some(root) = link(here) else { continue };
            let names = self.names_of(root);
            if path.is_empty() && self.streams.is_root(root) {
                from = names.first().cloned();
                let mut at = Some(here);
                while let Some(place) = at {
                    path.extend(link(place).map(|link| link.name.clone()));
                    at = below.get(&place).copied();
                }
            }
            tags.extend(names);
            for above in self.needed_by.get(here).into_iter().flatten() {
                if seen.insert(*above) {
                    below.insert(*above, here);
                    waiting.push_back(*above);
                }
            }
        }
        StreamKeeper {
            name: link(place).map(|link| link.name.clone()).unwrap_or_default(),
            tags: tags.into_iter().collect(),
            from,
            path,
        }
    }

    /// Returns the names of the link of a stream: a tag as it was given, another name as its path.
    fn names_of(&self, link: &StreamLink) -> Vec<String> {
        let paths = self.streams.names_of(link);
        paths.map(|path| tag_of_path(path).unwrap_or_else(|| format!("{}/{path}", layout::STREAMS))).collect()
    }
}

/// Streams and tags of a repository, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamSummary {
    /// Number of links of streams.
    pub streams: u64,
    /// Tags of OCI images, sorted.
    pub tags: Vec<String>,
    /// Tags whose manifest has no link.
    pub dangling: Vec<String>,
    /// Names of the manifests that no name keeps, or of other streams if no untagged manifest needs them. gc removes
    /// all of them once they are older than the grace.
    pub untagged: Vec<String>,
    /// Entries that gc cannot interpret.
    pub unreadable: Vec<crate::BrokenRef>,
}

impl Repository {
    /// Counts the streams and tags, and finds streams that nothing keeps.
    ///
    /// # Errors
    ///
    /// If a directory or stream cannot be read.
    pub fn stream_summary(&self) -> Result<StreamSummary, RepositoryError> {
        let graph = StreamGraph::read(self, &[])?;
        let streams = &graph.streams;
        let mut summary = StreamSummary { streams: streams.links.len() as u64, ..StreamSummary::default() };
        for (target, paths) in &streams.names {
            let is_there = streams.links.iter().any(|link| link.name == *target);
            for tag in paths.iter().filter_map(|path| tag_of_path(path)) {
                if !is_there {
                    summary.dangling.push(tag.clone());
                }
                summary.tags.push(tag);
            }
        }
        summary.tags.sort();
        let mut marks = super::marks::MarkSet::new(self);
        marks.streams(self, streams, &streams.roots())?;
        let is_untagged = |link: &StreamLink| link.kind.is_some() && !marks.streams.contains(&link.digest);
        for (link, needed_by) in streams.links.iter().zip(&graph.needed_by) {
            let mut above = needed_by.iter().filter_map(|place| streams.links.get(*place));
            let is_top = link.kind == Some(OciStreamKind::Manifest) || !above.any(is_untagged);
            if is_top && is_untagged(link) {
                summary.untagged.push(link.name.clone());
            }
        }
        marks.streams(self, streams, &streams.links.iter().collect::<Vec<_>>())?;
        summary.unreadable = marks.unclear.into_iter().collect();
        Ok(summary)
    }
}
