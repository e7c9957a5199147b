//! Mounting composefs images in user space: a FUSE server that verifies every block that it returns.
//!
//! ```text
//! image bytes --ImageReader--> ImageServer --ServedFileSystem--> FuseSession <--requests, replies--> /dev/fuse
//! object directories -> ObjectContents --^              ^
//! object directories -> ObjectContents --> ObjectServer +
//! ```
//!
//! [`protocol`] parses requests and encodes replies, without IO. A [`FuseSession`] reads requests from the device on
//! several threads and asks a [`ServedFileSystem`]. [`ImageServer`] is the one that shows a whole image: metadata from
//! the image in memory, contents from [`ObjectContents`], which return no byte that was not compared with the digest in
//! the image. [`ObjectServer`] shows the objects themselves, from which the kernel's mount can read. [`FuseMount`]
//! mounts, as root by the device, as another user by `fusermount3`.
//!
//! An [`ObjectSupply`] gets objects that are missing, for mounts whose contents arrive while they are used: a read that
//! needs one waits in a thread of its own. In an overlay of the kernel two [`LookupLayer`]s do the same without serving
//! a byte: a lookup in the [`Trigger`] gets the object, and overlayfs finds it in the layer behind.
//!
//! No server answers `FS_IOC_MEASURE_VERITY`: programs would believe it, although the kernel checks nothing.
#![forbid(unsafe_code)]

mod error;
mod file_system;
mod image;
mod layers;
mod lazy_layers;
mod lookup_layer;
mod mount;
mod object_names;
mod object_server;
mod objects;
pub mod protocol;
mod session;
mod supply;

pub use error::{FuseError, ServeError};
pub use file_system::{Opened, ReadReply, ServedFileSystem};
pub use image::{ImageOptions, ImageServer, ShownAttributes, StatisticsOf};
pub use layers::{FuseLayer, ObjectLayer, OverlayRequest, test_layers};
pub use lazy_layers::{LazyLayersError, test_lazy_layers};
pub use libcomposefs_sys::fuse::MountAttributes;
pub use lookup_layer::{LookupAnswer, LookupLayer, NoObject, Trigger};
pub use mount::{FuseMount, MountRequest, MountedBy, may_mount};
pub use object_server::ObjectServer;
pub use objects::{ContentDamage, ObjectContents, Trust};
pub use session::{AnsweredRequest, FuseSession, ServedMount};
pub use supply::{ObjectSupply, STATUS_ATTRIBUTE, SupplyError};
