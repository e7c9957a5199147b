//! What the user asks of a mount.

use std::fmt;
use std::path::PathBuf;

use composefs_image::Digest;

use crate::attributes::Attributes;
use crate::readahead::ReadAhead;

/// What overlayfs checks when a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verity {
    /// Nothing.
    #[default]
    Off,
    /// Files whose digest the image records: the object must have it (`verity=on`).
    Check,
    /// The image must record a digest for every file, and the object must have it (`verity=require`).
    Require,
    /// [`Verity::Require`] on a kernel whose overlayfs can do it (Linux 6.6), else nothing.
    RequireIfSupported,
}

impl Verity {
    /// The value of the overlayfs option `verity`, if it is to be set at all.
    #[must_use]
    pub fn overlay_value(self) -> Option<&'static str> {
        match self {
            Verity::Off => None,
            Verity::Check => Some("on"),
            Verity::Require | Verity::RequireIfSupported => Some("require"),
        }
    }
}

impl fmt::Display for Verity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verity::Off => "off",
            Verity::Check => "on",
            Verity::Require => "require",
            Verity::RequireIfSupported => "require if the kernel can",
        })
    }
}

/// The writable layer of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpperDir {
    /// Where changes go.
    pub dir: PathBuf,
    /// An empty directory on the same file system that overlayfs works in.
    pub work: PathBuf,
}

/// Everything the option text of a mount can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The object directories, searched in this order. At least one.
    pub basedirs: Vec<PathBuf>,
    /// The fs-verity digest that the image must have.
    pub digest: Option<Digest>,
    /// What is checked of the files.
    pub verity: Verity,
    /// The writable layer, if any.
    pub upper: Option<UpperDir>,
    /// The file of a user namespace (`/proc/PID/ns/user`) whose mapping shifts the owners in the image.
    pub idmap: Option<PathBuf>,
    /// Read-only or not, and the generic mount options.
    pub attributes: Attributes,
    /// How much of the image is read at mount.
    pub read_ahead: ReadAhead,
    /// A missing image is no failure. The library leaves that to its caller.
    pub nofail: bool,
}
