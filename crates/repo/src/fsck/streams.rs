//! What streams and their names say must exist. Contents of streams are not decompressed here.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use libcomposefs_image::Digest;

use super::damage::{Damage, DamageKind};
use super::expected::{Needs, damage, damage_of};
use crate::marks::MarkSet;
use crate::streams::{StreamLink, Streams};
use crate::{BrokenRef, Repository, RepositoryError, layout};

impl Needs {
    /// Reads all streams: notes the objects that they need, and the damages of streams, names and image links.
    pub(super) fn find_streams(
        &mut self,
        repository: &Repository,
        streams: &Streams,
        images: &[Digest],
    ) -> Result<(), RepositoryError> {
        let mut lost = BTreeSet::new();
        for link in &streams.links {
            if repository.objects().try_stat(&link.digest).is_ok() {
                if !self.read_stream(repository, link, streams, images)? {
                    lost.insert(repository.dir.path.join(path_of(&link.name)));
                }
            } else if is_still_there(repository, link)? {
                let path = path_of(&link.name);
                lost.insert(repository.dir.path.join(&path));
                let found = format!("there is no object {}", link.digest);
                let mut damage = damage(DamageKind::Stream, path, found, Some(link.digest));
                damage.put_stream(&link.name);
                self.damages.push(damage);
            }
        }
        let mut marks = MarkSet::new(repository);
        marks.streams(repository, streams, &streams.links.iter().collect::<Vec<_>>())?;
        // Streams without an object were reported above; damaged ones, and lost texts, are found when all objects are
        // read.
        let is_other = |unclear: &&BrokenRef| {
            !lost.contains(&unclear.path) && !unclear.has_wrong_digest() && !unclear.has_lost_text()
        };
        for unclear in marks.unclear.iter().filter(is_other) {
            self.damages.push(damage_of(repository, DamageKind::Stream, unclear, None));
        }
        self.damages.extend(dangling_names(repository, streams)?);
        Ok(())
    }

    /// Notes what the tables of a stream refer to. A stream of an unknown form is reported elsewhere. Returns false if
    /// the object does not have its digest.
    fn read_stream(
        &mut self,
        repository: &Repository,
        link: &StreamLink,
        streams: &Streams,
        images: &[Digest],
    ) -> Result<bool, RepositoryError> {
        let algorithm = repository.algorithm();
        let Ok(Some(stream)) = repository.open_stream(&link.digest)? else { return Ok(true) };
        let name: Arc<str> = link.name.as_str().into();
        self.stream_objects.entry(link.digest).or_insert_with(|| Arc::clone(&name));
        // What a damaged stream says is not to be relied on. The damage is found when all objects are read.
        if !stream.has_digest(&link.digest)? {
            return Ok(false);
        }
        let Ok(tables) = stream.tables(algorithm)? else { return Ok(true) };
        stream.each_digest(tables.objects, algorithm.digest_len(), |raw| {
            if let Some(digest) = Digest::new(algorithm, raw) {
                self.stream_objects.entry(digest).or_insert_with(|| Arc::clone(&name));
            }
            Ok(())
        })?;
        let mut without_link = Vec::new();
        stream.each_digest(tables.streams, algorithm.digest_len(), |raw| {
            let Some(digest) = Digest::new(algorithm, raw) else { return Ok(()) };
            if images.binary_search(&digest).is_err() && streams.links.iter().all(|link| link.digest != digest) {
                self.stream_objects.entry(digest).or_insert_with(|| Arc::clone(&name));
                if repository.is_image(&digest)? {
                    without_link.push(digest);
                }
            }
            Ok(())
        })?;
        for digest in without_link {
            if !repository.has_image(&digest)? && is_still_there(repository, link)? {
                let found = format!("there is no image {digest}");
                let mut damage = damage(DamageKind::Dangling, path_of(&link.name), found, Some(digest));
                damage.put_stream(&link.name);
                self.damages.push(damage);
                self.read(repository, &digest);
            }
        }
        Ok(true)
    }
}

/// Lists tags, and other names, that lead to a stream without a link.
fn dangling_names(repository: &Repository, streams: &Streams) -> Result<Vec<Damage>, RepositoryError> {
    let has_link = |streams: &Streams, name: &str| streams.links.iter().any(|link| link.name == name);
    let dangling = |streams: &Streams| -> BTreeSet<(String, String)> {
        let wrong = streams.names.iter().filter(|(target, _)| !has_link(streams, target));
        wrong.flat_map(|(target, names)| names.iter().map(|name| (name.clone(), target.clone()))).collect()
    };
    let found = dangling(streams);
    if found.is_empty() {
        return Ok(Vec::new());
    }
    // A name may have been removed since, or the stream published.
    let now = dangling(&repository.streams()?);
    let damages = found.intersection(&now).map(|(name, target)| {
        damage(DamageKind::StreamName, path_of(name), format!("there is no stream {target}"), None)
    });
    Ok(damages.collect())
}

/// Returns whether a stream was not removed since it was listed.
fn is_still_there(repository: &Repository, link: &StreamLink) -> Result<bool, RepositoryError> {
    // A link in another spelling is not removed by gc.
    Ok(link.kind.is_none() || repository.has_stream_link(link)?)
}

fn path_of(name: &str) -> PathBuf {
    PathBuf::from(layout::STREAMS).join(name)
}
