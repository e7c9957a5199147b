//! An image that a command inspects, and the errors about it.

use std::cell::OnceCell;
use std::path::Path;

use anyhow::anyhow;
use libcomposefs_image::erofs::read::{ImageReader, LastLink, LoadedImage, ReadError, ResolvedPath, View, ViewNode};
use libcomposefs_store::Basedirs;

use crate::commands::repository::RepositoryArgs;
use crate::image_file::ImageFile;
use crate::inspect::inode_info::InodeInfo;
use crate::inspect::path::unresolved;
use crate::operand::{ImageOperand, Operands};

/// An image that was read, with its view.
pub(crate) struct InspectedImage<'r, 'a> {
    /// The operand that names the image.
    name: &'r Path,
    /// The operand as words of a command line.
    words: String,
    operands: &'r Operands<'r>,
    pub(crate) file: &'a ImageFile,
    pub(crate) reader: &'r ImageReader<'a>,
    pub(crate) view: View<'r, 'a>,
}

/// Reads the image that an operand names, and calls the function that inspects it.
pub(crate) fn inspect<T>(
    operand: &Path,
    selected: &RepositoryArgs,
    command: impl FnOnce(&InspectedImage<'_, '_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let opened = OnceCell::new();
    let operands = Operands::new(selected, &opened);
    let ImageOperand { file, digest } = operands.read(operand)?;
    let reader = file.reader()?;
    command(&InspectedImage {
        name: operand,
        words: operands.words(operand, digest),
        operands: &operands,
        file: &file,
        reader: &reader,
        view: View::new(&reader),
    })
}

impl<'a> InspectedImage<'_, 'a> {
    /// Resolves a path of the image.
    pub(crate) fn resolve(&self, path: &[u8], last: LastLink) -> anyhow::Result<ResolvedPath> {
        self.view.resolve(path, last).map_err(|error| unresolved(self.name, &self.words, &error))
    }

    /// Returns the properties of the inode at a path.
    pub(crate) fn info(&self, node: ViewNode, path: &[u8]) -> anyhow::Result<InodeInfo<'a>> {
        InodeInfo::of(&self.view, node).map_err(|error| self.refused(path, error))
    }

    /// Loads the tree of the image.
    pub(crate) fn load(&self) -> anyhow::Result<LoadedImage> {
        self.file.load(self.reader, &[])
    }

    /// Returns the object directories `given`, or if there are none, those of the repository that has the image.
    pub(crate) fn basedirs(&self, given: Basedirs) -> anyhow::Result<Basedirs> {
        self.operands.basedirs(given)
    }

    /// Builds the error for an image that is damaged at a path.
    pub(crate) fn refused(&self, path: &[u8], error: ReadError) -> anyhow::Error {
        anyhow!("{}: {}", self.name.display(), error.at_path(path))
    }

    /// Returns the name of the image for messages.
    pub(crate) fn name(&self) -> impl std::fmt::Display {
        self.name.display()
    }
}
