//! Layers onto a tree: the entries of the archives, in their order, change the tree (`docs/format/oci.md`, section 1).

mod apply;
mod canonical;
mod entries;
mod entry_log;
mod import;
mod path;
mod replay;
mod sink;
mod sparse;

pub use apply::{FileData, ImageTree, LayerWarning, WhiteoutRule};
pub use canonical::XattrFilter;
pub use entries::{INLINE_MAX, LayerReadError};
pub(crate) use entry_log::EntryLog;
pub use import::{ExpandedFiles, ImportedLayer, import_layer};
pub(crate) use import::{LoggedLayer, log_layer};
pub use replay::{Expander, Stored, apply_stream, check_stream, count_entries, expand};
pub(crate) use sink::each_piece;
pub use sink::{HashOnly, LayerSink, PieceSink};

use libcomposefs_image::tree::TreeError;

/// The reasons why an entry cannot be applied to the tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A name of the path is `..`.
    #[error("the path has a component \"..\", which is not allowed in a layer")]
    ParentName,
    /// A name is too long or has a NUL.
    #[error("a component of the path is longer than 255 bytes or has a NUL")]
    Name,
    /// The path has too many names.
    #[error("the path has more than {0} components")]
    Depth(usize),
    /// The root is no directory.
    #[error("the entry for the root is no directory")]
    Root,
    /// An entry above is no directory.
    #[error(
        "{0:?} is no directory, so that nothing can be below it; rebuild the layer with the path that it resolves to"
    )]
    Parent(String),
    /// The target of a hard link does not exist.
    #[error("the target {0:?} of the hard link does not exist in this layer or the layers below")]
    LinkTarget(String),
    /// The target of a hard link is a directory.
    #[error("the target {0:?} of the hard link is a directory")]
    LinkToDirectory(String),
    /// A device number is too large for Linux.
    #[error("the device number {0}:{1} is too large: at most 4095:1048575")]
    Device(u32, u32),
    /// A limit of a tree is exceeded.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The tree cannot become an image.
    #[error("{0}")]
    Canonical(&'static str),
}
