//! Marking: at the start of a gc, and again before each step.

use libcomposefs_image::Digest;

use super::Collector;
use crate::RepositoryError;
use crate::broken_ref::BrokenRef;
use crate::lock::Locked;
use crate::refs::Refs;
use crate::streams::{StreamLink, Streams};

/// Number of times that new entries are marked without the lock. Entries that are new even then are marked under the
/// lock.
const TRIES: u32 = 3;

/// All entries that name images and streams, and the digests that leases protect.
struct Named {
    refs: Refs,
    images: Vec<Digest>,
    /// Partial images: what is here of their objects is needed.
    partial: Vec<Digest>,
    broken_links: Vec<BrokenRef>,
    streams: Streams,
    /// Digests that were added to leases since the last time.
    claimed: Vec<Digest>,
}

/// Permission to do one step: the lock, unless this is a dry run.
pub(super) struct Alone {
    _locked: Option<Locked>,
}

impl Collector<'_> {
    /// Marks what is named, and notes the images and the streams of OCI images that nothing names.
    pub(super) fn mark_all(&mut self) -> Result<(), RepositoryError> {
        let named = self.named()?;
        self.candidates = named.images.iter().copied().collect();
        self.stream_candidates = named.streams.links.iter().filter(|link| link.kind.is_some()).cloned().collect();
        self.mark_named(&named)?;
        for link in &self.stream_candidates {
            if !self.marks.streams.contains(&link.digest) {
                self.marks.expect_clear(self.repository, link)?;
            }
        }
        let is_missing = |(_, digest): &(_, Digest)| self.marks.missing.contains(digest);
        self.report.dangling = named.refs.good.into_iter().filter(is_missing).collect();
        let all = named.refs.broken.into_iter().chain(named.broken_links);
        self.report.others = all.filter(|entry| !entry.is_unclear()).collect();
        Ok(())
    }

    /// Locks the repository for one step. Everything that was published or protected before is marked then. Returns
    /// `None` if an entry among it cannot be interpreted.
    ///
    /// Other programs hold the lock as long as they run, and what they publish may need objects that nothing needed
    /// before. So all names are listed again under the lock. New images are read without it, as that may take long.
    pub(super) fn alone(&mut self) -> Result<Option<Alone>, RepositoryError> {
        for left in (0..TRIES).rev() {
            let locked = if self.options.dry_run { None } else { Some(Locked::exclusive(&self.repository.dir)?) };
            let named = self.named()?;
            if !self.is_new(&named) {
                return Ok(self.may_go_on().then_some(Alone { _locked: locked }));
            }
            if left > 0 {
                drop(locked);
                self.mark_named(&named)?;
            } else {
                self.mark_named(&named)?;
                return Ok(self.may_go_on().then_some(Alone { _locked: locked }));
            }
        }
        Ok(None)
    }

    /// Returns whether the needs of all entries are known.
    pub(super) fn may_go_on(&self) -> bool {
        self.marks.unclear.is_empty()
    }

    fn named(&mut self) -> Result<Named, RepositoryError> {
        let mut claimed = Vec::new();
        if let Some(leases) = &mut self.leases {
            leases.read(|digest| claimed.push(digest))?;
        }
        let refs = self.repository.refs()?;
        let (images, broken_links) = self.repository.image_links()?;
        let partial = self.repository.partial_entries()?;
        Ok(Named { refs, images, partial, broken_links, streams: self.repository.streams()?, claimed })
    }

    /// Lists the images to mark: images with names, and images whose link did not exist at the start.
    fn images_of<'n>(&'n self, named: &'n Named) -> impl Iterator<Item = &'n Digest> + 'n {
        let known = [&self.candidates, &self.young_images, &self.spared];
        let new_links = named.images.iter().filter(move |digest| !known.iter().any(|known| known.contains(digest)));
        // A process that protects an image relies on all objects of it.
        let claimed = named.claimed.iter().filter(|digest| named.images.binary_search(digest).is_ok());
        let names = named.refs.good.iter().map(|(_, digest)| digest).chain(&named.partial);
        names.chain(new_links).chain(claimed)
    }

    /// Lists the streams to mark: the roots (tags, and streams of other kinds), streams whose link is new since the
    /// start, and streams that a lease protects.
    fn streams_of<'n>(&self, named: &'n Named) -> Vec<&'n StreamLink> {
        let known = [&self.stream_candidates, &self.young_streams, &self.spared_streams];
        let is_new = |link: &StreamLink| !known.iter().any(|known| known.contains(link));
        let is_wanted =
            |link: &&StreamLink| named.streams.is_root(link) || is_new(link) || self.is_claimed(&link.digest);
        named.streams.links.iter().filter(is_wanted).collect()
    }

    /// Returns whether a lease protects an image or stream. It may have protected it before its link existed.
    pub(super) fn is_claimed(&self, digest: &Digest) -> bool {
        self.leases.as_ref().is_some_and(|leases| leases.claimed.contains(digest))
    }

    fn is_new(&self, named: &Named) -> bool {
        let repository = self.repository;
        let mut broken = named.refs.broken.iter().chain(&named.broken_links).chain(&named.streams.unclear);
        self.images_of(named).any(|digest| self.marks.lacks_image(repository, digest))
            || self.streams_of(named).iter().any(|link| self.marks.lacks_stream(repository, &link.digest))
            || broken.any(|entry| self.marks.lacks_broken(repository, entry))
            || named
                .broken_links
                .iter()
                .filter_map(BrokenRef::named_digest)
                .any(|d| self.marks.lacks_image(repository, &d))
    }

    fn mark_named(&mut self, named: &Named) -> Result<(), RepositoryError> {
        let images: Vec<Digest> =
            self.images_of(named).filter(|digest| self.marks.lacks_image(self.repository, digest)).copied().collect();
        for digest in images {
            self.marks.image(self.repository, &digest);
        }
        self.marks.broken(self.repository, &named.refs.broken);
        self.marks.broken(self.repository, &named.broken_links);
        for digest in named.broken_links.iter().filter_map(BrokenRef::named_digest) {
            self.marks.image(self.repository, &digest);
        }
        let streams = self.streams_of(named);
        self.marks.streams(self.repository, &named.streams, &streams)
    }
}
