//! The layers of an image of the repository, read once for several trees.

use libcomposefs_image::tree::Tree;
use libcomposefs_repo::Repository;

use super::layer_images::layer_trees;
use super::layers::{self, ReadLayers};
use super::{PullError, PullOptions};
use crate::layer::HashOnly;
use crate::stored::StoredImage;

/// The streams of the layers of an image. Their contents are not compared with the diff IDs.
#[derive(Debug)]
pub struct LayerStreams<'r> {
    repository: &'r Repository,
    layers: ReadLayers,
}

impl<'r> LayerStreams<'r> {
    /// Reads the streams of an image of the repository.
    ///
    /// # Errors
    ///
    /// If one is missing or damaged.
    pub fn open(repository: &'r Repository, image: &StoredImage) -> Result<Self, PullError> {
        let layers = ReadLayers::of_repository(repository, &image.manifest, &image.config)?;
        Ok(Self { repository, layers })
    }

    /// Returns the tree of the composefs image. Nothing is stored.
    ///
    /// # Errors
    ///
    /// If a layer is damaged, or breaks a rule.
    pub fn tree(&self, options: &PullOptions) -> Result<Tree, PullError> {
        let algorithm = self.repository.algorithm();
        let sink = HashOnly(algorithm);
        Ok(layers::tree_of(algorithm, &self.layers, Some((self.repository, &sink)), options)?.tree)
    }

    /// Returns the tree of each layer, the lowest first. Nothing is stored.
    ///
    /// # Errors
    ///
    /// If a layer is damaged, or breaks a rule.
    pub fn layer_trees(&self, options: &PullOptions) -> Result<Vec<Tree>, PullError> {
        let sink = HashOnly(self.repository.algorithm());
        layer_trees(self.repository.algorithm(), &self.layers, (self.repository, &sink), options)
    }
}
