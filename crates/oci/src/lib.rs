//! OCI images: layers to trees, layer streams, manifests and their sources.
//!
//! `docs/format/oci.md` specifies how the layers of an image become one tree, and `docs/format/stream.md` how a
//! repository stores layers so that they come back bit by bit. Nothing here uses the network.

#![forbid(unsafe_code)]

pub mod annotation;
pub mod blob;
mod blob_digest;
pub mod blob_record;
pub mod bundle_document;
pub mod check_images;
pub mod compression;
pub mod containers_storage;
pub mod destination;
pub mod format;
mod full_names;
pub mod layer;
pub mod manifest;
pub mod pull;
pub mod push;
pub mod runtime;
pub mod source;
pub mod stored;
pub mod stored_layer_images;
pub mod stored_layers;
pub mod stream;
pub mod tar;
pub mod tar_split;
pub mod zstd_chunked;

use libcomposefs_image::display as shown;

pub use blob_digest::{BlobDigest, BlobHasher, InvalidBlobDigest};
