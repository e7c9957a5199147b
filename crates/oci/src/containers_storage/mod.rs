//! Importing images from the store of podman, buildah and CRI-O (containers-storage, driver overlay), without copying
//! them out of it first (`docs/format/containers-storage.md`).
//!
//! The store has the files of each layer in a directory, and the tar-split data of the archive they came from. So the
//! exact archive can be rebuilt, and is imported like any other.

mod big_data;
mod composefs;
mod diff;
mod files;
mod import;
mod json;
mod lock;
mod root;
mod storage;

use std::io;
use std::path::PathBuf;

use crate::BlobDigest;
use crate::layer::LayerReadError;
use crate::tar_split::TarSplitError;

pub use import::import_storage_layer;
pub use json::{StorageImage, StorageLayer, parse_images, parse_layers};
pub use storage::{ContainersStorage, ImageBlobs};

/// The reasons why an image of a containers-storage cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// A file or directory of the store cannot be read.
    #[error("{step} {}: {source}", path.display())]
    Io {
        /// The step that failed, as a verb.
        step: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The directory is no store.
    #[error(
        "{} is no containers-storage of the driver overlay: it has no overlay-images/images.json; pass the graph root, \
         which `podman info` prints as graphRoot", .0.display()
    )]
    NoStorage(PathBuf),
    /// Another process writes to the store, and the caller does not want to wait any more.
    #[error("another process writes to {}: try again later", .0.display())]
    Locked(PathBuf),
    /// A file has more bytes than the limit.
    #[error("{} has more than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// A file is malformed.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        problem: String,
    },
    /// There is no such image.
    #[error("no image {0:?}: `podman images` lists the names and IDs")]
    NoImage(String),
    /// An ID begins several images.
    #[error("several images have an ID that begins with {0:?}: pass more of it")]
    Ambiguous(String),
    /// The image has no manifest or configuration, or another than its digest says.
    #[error("the image {image}: {problem}; pull it from its registry instead")]
    Image {
        /// The ID of the image.
        image: String,
        /// The cause.
        problem: String,
    },
    /// A layer of the image is not in the store.
    #[error("the layer {layer} of the image {image} {problem}; pull the image from its registry instead")]
    Chain {
        /// The ID of the image.
        image: String,
        /// The ID of the layer.
        layer: String,
        /// The cause.
        problem: &'static str,
    },
    /// The exact archive of the layer is not known.
    #[error(
        "the layer {0} has no tar-split data, as layers that were never committed to an image: commit it, or pull the \
         image from its registry instead"
    )]
    NoTarSplit(String),
    /// The archive cannot be rebuilt.
    #[error("the archive of the layer {layer} cannot be rebuilt: {source}; pull the image from its registry instead")]
    Rebuild {
        /// The ID of the layer.
        layer: String,
        /// The error.
        source: TarSplitError,
    },
    /// The rebuilt archive is another one.
    #[error(
        "the layer {layer} was changed in the store: its archive has the digest {found}, but the diff ID is \
         {expected}; pull the image from its registry instead"
    )]
    DiffId {
        /// The ID of the layer.
        layer: String,
        /// The diff ID.
        expected: BlobDigest,
        /// The digest of the rebuilt archive.
        found: BlobDigest,
    },
    /// The rebuilt archive cannot be read or stored.
    #[error("the layer {layer}: {source}")]
    Layer {
        /// The ID of the layer.
        layer: String,
        /// The error.
        source: LayerReadError,
    },
}
