//! An OCI image outside a repository as an image: its layers are read, and nothing is stored.

use std::path::Path;

use libcomposefs_image::policy::FileContents;
use libcomposefs_image::tree::Tree;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_oci::manifest::{ImageConfig, Manifest};
use libcomposefs_oci::pull::{
    PlainOptions, PlainTrees, PullOptions, image_format, keep_contents, plain_trees, read_documents, source_tree,
};
use libcomposefs_oci::source::ImageSource;
use libcomposefs_repo::Format;

use crate::commands::oci::progress::LayerBars;
use crate::commands::oci::source::{self, SourceArgs};
use crate::commands::oci::warnings;
use crate::image_file::ImageFile;

/// An OCI image of a layout, an archive, a registry or the store of podman.
pub(crate) struct SourceImage {
    source: Box<dyn ImageSource + Send>,
    options: PullOptions,
}

impl SourceImage {
    /// Opens the image that an operand names by its transport.
    pub(crate) fn open(operand: &Path, args: &SourceArgs) -> anyhow::Result<Self> {
        let opened = source::open(operand.as_os_str(), args)?;
        let mut options = PullOptions::default();
        options.platform = args.platform().cloned();
        Ok(Self { source: opened.source, options })
    }

    /// Reads the manifest and the configuration.
    pub(crate) fn documents(&self) -> anyhow::Result<(Manifest, ImageConfig)> {
        Ok(read_documents(&*self.source, &self.options)?)
    }

    /// Reads the layers, and returns the tree of the composefs image.
    pub(crate) fn tree(&self, algorithm: Algorithm) -> anyhow::Result<Tree> {
        let bars = LayerBars::default();
        let (tree, found) = source_tree(&*self.source, algorithm, &self.options, &bars)?;
        drop(bars);
        warnings::tell(&found);
        Ok(tree)
    }

    /// Reads the layers, and returns the composefs image that `oci pull` makes of them.
    pub(crate) fn image(&self, operand: &Path, algorithm: Algorithm) -> anyhow::Result<ImageFile> {
        let tree = self.tree(algorithm)?;
        let mut image = Vec::new();
        image_format(Format::One).plan(&tree)?.write(&mut image)?;
        ImageFile::in_memory(operand, image)
    }

    /// Reads the layers, and keeps the contents with these digests.
    pub(crate) fn keep_contents(&self, wanted: &[Digest], contents: &mut FileContents) -> anyhow::Result<()> {
        Ok(keep_contents(&*self.source, wanted, contents, &self.options, &LayerBars::default())?)
    }

    /// Reads the layers, and returns the trees that they describe.
    pub(crate) fn plain_trees(&self, plain: PlainOptions) -> anyhow::Result<PlainTrees> {
        Ok(plain_trees(&*self.source, plain, &self.options, &LayerBars::default())?)
    }
}
