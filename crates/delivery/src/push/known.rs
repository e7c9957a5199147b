//! What a remote has already: the indexes of the ref and of similar refs.

use std::collections::{HashMap, HashSet};

use libcomposefs_delta::{Coder, FrameInfo};
use libcomposefs_image::Digest;
use libcomposefs_repo::RefName;

use super::builder::IndexBuilder;
use crate::remote::Remote;
use crate::{
    DeliveryError, ExtraRecord, FileEntry, FileKind, FileName, ImageIndex, IndexFrame, RemoteRef, Sha256Digest,
};

/// Most other refs whose indexes are read.
const OTHERS_MAX: usize = 8;
/// A frame is used again if at least this part of its content is of the image.
const USED_PART: u64 = 4;

/// The ref before a push, and the indexes that are read for it.
pub(super) struct KnownRemote {
    pub(super) previous: Option<RemoteRef>,
    /// The first one is that of the ref, if `has_own` is set.
    indexes: Vec<ImageIndex>,
    has_own: bool,
}

impl KnownRemote {
    /// Reads the ref, and the indexes of it and of refs with similar names.
    pub(super) fn read(remote: &Remote<'_>, name: &RefName) -> Result<Self, DeliveryError> {
        let previous = remote.read_ref(name)?;
        let mut seen = HashSet::new();
        let mut indexes = Vec::new();
        let entry = previous.as_ref().map(|previous| previous.document.index);
        // An index that went away, or is damaged, is of no use for this push, and no reason to fail.
        let mut read = |entry: FileEntry| -> Result<bool, DeliveryError> {
            if !seen.insert(entry.sha256) {
                return Ok(false);
            }
            match remote.read_index(&entry) {
                Ok(index) => indexes.push(index),
                Err(DeliveryError::Damaged { .. } | DeliveryError::Index { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
            Ok(true)
        };
        let has_own = entry.map_or(Ok(false), &mut read)?;
        for other in similar_refs(remote, name)? {
            match remote.read_ref(&other) {
                Ok(Some(other)) => drop(read(other.document.index)?),
                Ok(None) | Err(DeliveryError::Document { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { previous, indexes, has_own })
    }

    /// Returns the further records of the ref if it leads to this image.
    pub(super) fn records_of(&self, digest: &Digest) -> Option<&[ExtraRecord]> {
        let document = &self.previous.as_ref()?.document;
        (document.image.digest == *digest).then_some(&document.records)
    }

    /// Returns the trace that the index of the ref has, if the ref leads to this image.
    pub(super) fn trace_of(&self, digest: &Digest) -> Option<Vec<Digest>> {
        let own = self.indexes.first().filter(|own| self.has_own && own.image.digest == *digest)?;
        Some(own.traced_digests())
    }

    /// Adds the frames of packs of the remote that give objects of the image, or of the frames without bases only those
    /// that give nothing but the objects of `within`.
    pub(super) fn reuse(
        &self,
        remote: &Remote<'_>,
        builder: &mut IndexBuilder,
        within: Option<&HashSet<Digest>>,
    ) -> Result<(), DeliveryError> {
        let mut packs = KnownPacks { remote, there: HashMap::new() };
        for index in &self.indexes {
            if index.image.digest.algorithm() != builder.algorithm() {
                continue;
            }
            for frame in index.frames.iter().filter(|frame| frame.bases.is_empty()) {
                let Some(info) = useful(index, frame, builder) else { continue };
                if within.is_some_and(|within| info.objects.iter().any(|(digest, _)| !within.contains(digest))) {
                    continue;
                }
                let has_new = info.objects.iter().any(|(digest, _)| builder.needs(digest) && !builder.has(digest));
                let Some(pack) = index.packs.get(frame.pack as usize).filter(|_| has_new) else { continue };
                if packs.has(pack)? {
                    builder.add(pack, frame.offset, &info);
                }
            }
        }
        let Some(own) = self.indexes.first().filter(|_| self.has_own && within.is_none()) else { return Ok(()) };
        for frame in own.frames.iter().filter(|frame| !frame.bases.is_empty()) {
            let Some(info) = useful(own, frame, builder) else { continue };
            let Some(pack) = own.packs.get(frame.pack as usize) else { continue };
            if packs.has(pack)? {
                builder.add(pack, frame.offset, &info);
            }
        }
        Ok(())
    }
}

/// Returns the description of a frame of which a sufficient part is of the image.
fn useful(index: &ImageIndex, frame: &IndexFrame, builder: &IndexBuilder) -> Option<FrameInfo> {
    if matches!(frame.coder, Coder::Unknown(_)) {
        return None;
    }
    let info = index.frame_info(frame)?;
    let used = |(digest, size): &(Digest, u64)| if builder.needs(digest) { *size } else { 0 };
    let (used, all) = (info.objects.iter().map(used).sum::<u64>(), info.objects.iter().map(|entry| entry.1).sum());
    (used > 0 && used.saturating_mul(USED_PART) >= all).then_some(info)
}

/// Packs that were looked for.
struct KnownPacks<'a> {
    remote: &'a Remote<'a>,
    there: HashMap<Sha256Digest, bool>,
}

impl KnownPacks<'_> {
    fn has(&mut self, pack: &FileEntry) -> Result<bool, DeliveryError> {
        if let Some(is_there) = self.there.get(&pack.sha256) {
            return Ok(*is_there);
        }
        let is_there = self.remote.has_file(&FileName::Pack(pack.sha256), pack.size)?;
        self.there.insert(pack.sha256, is_there);
        Ok(is_there)
    }
}

/// Returns the refs whose names have most in common with `name`, without it.
fn similar_refs(remote: &Remote<'_>, name: &RefName) -> Result<Vec<RefName>, DeliveryError> {
    let store = remote.store();
    if store.abilities().no_gc.is_some() {
        return Ok(Vec::new());
    }
    let listed = remote.patience().access(|| store.list(FileKind::Ref))?;
    let mut names: Vec<(usize, RefName)> = listed
        .into_iter()
        .filter_map(|file| match file.name {
            FileName::Ref(other) if other != *name => Some((common_prefix(other.as_str(), name.as_str()), other)),
            _ => None,
        })
        .collect();
    names.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| b.1.cmp(&a.1)));
    Ok(names.into_iter().take(OTHERS_MAX).map(|(_, name)| name).collect())
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}
