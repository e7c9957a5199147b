//! One composefs image for each layer: what overlayfs needs above the images of the layers below to show the tree of
//! the whole image (`docs/format/oci.md`, section 3.2).

use libcomposefs_image::tree::{Tree, overlay_difference};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::{Format, Repository, Transaction};

use super::layers::{self, ReadLayers};
use super::{PullError, PullOptions};
use crate::layer::{LayerError, LayerSink};

/// Returns the tree of each layer, the lowest first. The first is the tree of that layer alone.
pub(super) fn layer_trees(
    algorithm: Algorithm,
    layers: &ReadLayers,
    store: (&Repository, &dyn LayerSink),
    options: &PullOptions,
) -> Result<Vec<Tree>, PullError> {
    let (mut trees, mut below): (Vec<Tree>, Option<Tree>) = (Vec::new(), None);
    layers::apply_each(algorithm, layers, Some(store), options, |tree| {
        let so_far = tree.so_far()?;
        trees.push(match &below {
            None => so_far.clone(),
            Some(below) => overlay_difference(below, &so_far).map_err(LayerError::from)?,
        });
        below = Some(so_far);
        Ok(())
    })?;
    Ok(trees)
}

/// Adds the images of the layers to the transaction and returns their digests, the lowest first.
pub(super) fn add_layer_images(
    transaction: &mut Transaction<'_>,
    layers: &ReadLayers,
    options: &PullOptions,
) -> Result<Vec<Digest>, PullError> {
    let repository = transaction.repository();
    let trees = layer_trees(repository.algorithm(), layers, (repository, transaction.batch()), options)?;
    let mut add = |tree: &Tree| {
        let image = Format::One.plan(tree).map_err(PullError::Image)?;
        Ok(transaction.add_image(tree, &image, Vec::new())?)
    };
    trees.iter().map(&mut add).collect()
}
