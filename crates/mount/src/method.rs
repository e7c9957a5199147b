//! The kernel features that a mount may use, and the methods by which the image and its overlay were mounted.

use std::fmt;
use std::path::PathBuf;

use crate::options::Verity;

/// The newer interfaces of the kernel that may be used. All, unless a test or a search for a defect says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelFeatures {
    /// EROFS on a file, without a loop device (Linux 6.12).
    pub file_backed: bool,
    /// An overlay over a mount that is attached nowhere (Linux 6.15).
    pub detached: bool,
    /// Mount contexts for overlayfs (Linux 6.5).
    pub overlay_contexts: bool,
    /// Mount contexts at all (Linux 5.2).
    pub contexts: bool,
}

impl Default for KernelFeatures {
    fn default() -> Self {
        Self { file_backed: true, detached: true, overlay_contexts: true, contexts: true }
    }
}

/// The method by which the image was mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErofsMethod {
    /// From the file itself.
    File,
    /// Through this loop device.
    Loop(PathBuf),
}

/// The method by which the layers were joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OverlayMethod {
    /// A mount context, over the image mounted nowhere.
    Detached,
    /// A mount context, over the image mounted on a temporary directory.
    Mountpoint,
    /// `mount(2)`, with data-only layers.
    OneText,
    /// `mount(2)`, with ordinary layers: the objects' names are hidden by the image only.
    OrdinaryLayers,
    /// None: only the image was mounted.
    ImageOnly,
}

/// The methods that a plan was carried out with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mounted {
    /// The method by which the image was mounted.
    pub erofs: ErofsMethod,
    /// The method by which the layers were joined.
    pub overlay: OverlayMethod,
    /// The check that overlayfs makes: never [`Verity::RequireIfSupported`].
    pub verity: Verity,
}

impl fmt::Display for Mounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.erofs {
            ErofsMethod::File => f.write_str("image mounted from its file, ")?,
            ErofsMethod::Loop(device) => write!(f, "image mounted through {}, ", device.display())?,
        }
        f.write_str(match self.overlay {
            OverlayMethod::Detached => "overlay over the detached mount",
            OverlayMethod::Mountpoint => "overlay over a temporary mount point",
            OverlayMethod::OneText => "overlay by mount(2)",
            OverlayMethod::OrdinaryLayers => "overlay by mount(2) with ordinary layers",
            OverlayMethod::ImageOnly => return f.write_str("no overlay"),
        })?;
        write!(f, ", verity {}", self.verity)
    }
}
