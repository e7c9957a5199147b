//! Mounting a composefs image: options to a plan, the plan to the kernel.
//!
//! ```text
//! option text or values --> Options --with the image's header--> Plan --mount--> DetachedMount --attach--> a directory
//! ```
//!
//! [`Options`] and [`Plan`] are plain data: a plan can be printed and tested without privileges. Only the methods of
//! [`Plan`] that mount use the kernel: [`Plan::mount`] returns a descriptor that is attached nowhere,
//! [`Plan::mount_at`] attaches it as well, [`Plan::mount_image`] mounts the image without its objects. [`Plan::specs`]
//! describes the mounts for another program. This crate knows no repositories: an image is a file, objects are in
//! directories. `docs/mount.md` describes each option, and which methods are used on which kernel.

mod apply;
mod detached;
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
mod layered;
mod legacy;
mod method;
mod mountpoint;
mod mounts;
mod options;
mod overlay;
mod parse;
mod path_or_fd;
mod plan;
mod probe;
mod readahead;
mod spec;
mod statfs;
mod statfs_refusal;
mod umount;
mod warm;

pub use detached::DetachedMount;
pub use error::Error;
pub use flags::{Atime, MountFlags};
pub use image::ImageFile;
pub use method::{ErofsMethod, KernelFeatures, Mounted, OverlayMethod};
pub use mounts::{MountEntry, mounts};
pub use options::{Options, StatfsSource, UpperDir, Verity};
pub use parse::{OptionError, TakenWords, UnknownOptions, parse, take_words};
pub use path_or_fd::PathOrFd;
pub use plan::Plan;
pub use probe::{Overlayfs, release};
pub use readahead::ReadAhead;
pub use spec::{MountSpec, SpecError};
pub use statfs_refusal::StatfsRefusal;
pub use umount::{UmountError, umount};
pub use warm::{WarmedFiles, half_of_available_memory, warm, warm_files};
