//! Finds all blobs of an image before the first one is sent.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use libcomposefs_repo::Reader;

use super::exact_blob::exact_blob;
use super::layer_archive::ArchiveContent;
use super::{MissingBlob, PushError, PushOptions};
use crate::BlobDigest;
use crate::destination::{BlobContent, BlobPlace, ImageDestination, LayerForm};
use crate::stored::StoredImage;

/// The way in which a layer goes to the destination.
pub(super) enum LayerWay<'r> {
    /// The destination has the blob.
    Present,
    /// The blob is mounted from another repository, or sent if the repository can give it and that fails.
    Mount(Option<Box<dyn BlobContent + 'r>>),
    /// The blob is sent.
    Send(Box<dyn BlobContent + 'r>),
    /// The archive is compressed anew.
    Compress(ArchiveContent<'r>),
}

/// A distinct layer.
pub(super) struct PlannedLayer<'r> {
    /// The number of the layer in the image, from 0.
    pub(super) number: usize,
    pub(super) diff_id: BlobDigest,
    /// The digest of the blob, or of the archive if that is what the destination stores.
    pub(super) digest: BlobDigest,
    /// The size of the blob or the archive, in bytes.
    pub(super) size: u64,
    pub(super) way: LayerWay<'r>,
}

/// The distinct layers of an image, and the order in which they occur.
pub(super) struct PushPlan<'r> {
    pub(super) layers: Vec<PlannedLayer<'r>>,
    /// The number in `layers` of each layer of the image, the lowest first.
    pub(super) order: Vec<usize>,
}

/// Finds the blobs of all layers. A blob that occurs twice is sent once.
pub(super) fn plan<'r>(
    reader: &Reader<'r>,
    image: &StoredImage,
    destination: &dyn ImageDestination,
    options: &PushOptions,
) -> Result<PushPlan<'r>, PushError> {
    let repository = reader.repository();
    let (mut plan, mut order, mut missing, mut seen) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
    let layers = image.manifest.layers.iter().zip(&image.config.diff_ids);
    for (number, (blob, diff_id)) in layers.enumerate() {
        options.check()?;
        let is_archive = options.recompress.is_some() || destination.layer_form() == LayerForm::Archives;
        let place = match seen.entry(if is_archive { *diff_id } else { blob.digest }) {
            Entry::Occupied(planned) => {
                order.push(*planned.get());
                continue;
            }
            // A missing blob takes the place of the next layer, but the order of such a plan is of no use.
            Entry::Vacant(place) => *place.insert(plan.len()),
        };
        order.push(place);
        let (mut digest, mut size) = (blob.digest, blob.size);
        let way = if is_archive {
            let archive = ArchiveContent::find(repository, diff_id)?;
            reader.protect(&archive.objects())?;
            (digest, size) = (*diff_id, archive.size);
            match options.recompress {
                Some(_) => LayerWay::Compress(archive),
                None => LayerWay::Send(Box::new(archive)),
            }
        } else {
            match destination.find(&blob.digest, blob.size)? {
                BlobPlace::Here => LayerWay::Present,
                BlobPlace::Nearby => LayerWay::Mount(exact_blob(reader, blob, diff_id)?),
                BlobPlace::Missing => match exact_blob(reader, blob, diff_id)? {
                    Some(content) => LayerWay::Send(content),
                    None => {
                        missing.push(MissingBlob { number: number + 1, blob: blob.clone(), diff_id: *diff_id });
                        continue;
                    }
                },
            }
        };
        plan.push(PlannedLayer { number, diff_id: *diff_id, digest, size, way });
    }
    if missing.is_empty() {
        return Ok(PushPlan { layers: plan, order });
    }
    let (destination, count) = (destination.describe(), image.manifest.layers.len());
    Err(PushError::Missing { destination, count, layers: missing })
}
