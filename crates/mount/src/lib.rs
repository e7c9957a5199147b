//! Mounting a composefs image: options to a plan, the plan to the kernel.
//!
//! ```text
//! option text --parse--> Options --with the image's header--> Plan --apply--> Mounted
//! ```
//!
//! [`Options`] and [`Plan`] are plain data: a plan can be printed and tested without privileges. Only [`apply`] talks
//! to the kernel. Nothing here knows of repositories: an image is a file, the objects are in directories.
//! `docs/mount.md` tells each option, and what is done on which kernel.

mod apply;
mod erofs;
mod error;
mod escape;
mod failure;
mod flags;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod image;
mod layer;
mod legacy;
mod method;
mod mountpoint;
mod mounts;
mod options;
mod overlay;
mod parse;
mod plan;
mod probe;
mod readahead;
mod umount;

pub use apply::{Mounted, apply, apply_in};
pub use error::Error;
pub use flags::{Atime, Attributes};
pub use image::ImageFile;
pub use method::{Allowed, ErofsWay, OverlayWay};
pub use mounts::{MountEntry, mounts};
pub use options::{Options, UpperDir, Verity};
pub use parse::{OptionError, UnknownOptions, parse};
pub use plan::Plan;
pub use probe::{Overlayfs, release};
pub use readahead::ReadAhead;
pub use umount::{UmountError, umount};
