//! Booting from a composefs image: the program `composefs-setup-root` of an initramfs.
//!
//! ```text
//! command line --KernelWords--+
//! configuration --BootConfig--+--> BootPlan --with StateFacts of the disk--> list of BootStep --StepRunner--> mounts
//! name of the program --Face--+
//! ```
//!
//! With the feature `name` the newest image of a name is found: the policy of the initramfs, the floors on the disk and
//! the signatures in the repository give a list of images, the newest first.
//!
//! Everything up to the list of [`BootStep`] is plain data and pure functions. [`StepRunner`] alone mounts.
#![forbid(unsafe_code)]

mod arguments;
#[cfg(feature = "name")]
mod by_name;
mod config;
mod console;
mod disk;
pub mod early;
mod error;
mod face;
mod init_check;
mod message;
#[cfg(feature = "name")]
mod name_error;
mod plan;
mod program;
mod records;
mod run;
mod setup;
#[cfg(feature = "name")]
mod signature_files;
mod signed_by;
mod steps;
mod words;

pub use arguments::{ArgumentError, BootArguments, BootRequest, HELP};
pub use config::{BootConfig, ConfigError, MountChoice};
pub use console::Console;
pub use disk::{BootDisk, BootRepository, FoundImage};
pub use error::BootError;
pub use face::Face;
pub use message::BootRefusal;
#[cfg(feature = "name")]
pub use name_error::NameError;
pub use plan::{BootPlan, PlanError};
pub use program::run_program;
pub use run::StepRunner;
pub use setup::{BootOutcome, set_up};
pub use signed_by::SignedBy;
pub use steps::{BootStep, StateError, StateFacts, StateKind, state_directory, steps};
pub use words::{BootImage, KernelWords, Refused, WordError, kernel_value};
