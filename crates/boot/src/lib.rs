//! Booting from a composefs image: the program `composefs-setup-root` of an initramfs.
//!
//! ```text
//! command line --KernelWords--+
//! configuration --BootConfig--+--> BootPlan --with StateFacts of the disk--> list of BootStep --StepRunner--> mounts
//! name of the program --Face--+
//! ```
//!
//! Everything up to the list of [`BootStep`] is plain data and pure functions. [`StepRunner`] alone mounts.
#![forbid(unsafe_code)]

mod arguments;
mod config;
mod console;
mod disk;
pub mod early;
mod error;
mod face;
mod init_check;
mod message;
mod plan;
mod records;
mod run;
mod setup;
mod steps;
mod words;

pub use arguments::{ArgumentError, BootArguments, BootRequest, HELP};
pub use config::{BootConfig, ConfigError, MountChoice};
pub use console::Console;
pub use disk::{BootDisk, BootRepository, FoundImage};
pub use error::BootError;
pub use face::Face;
pub use message::BootRefusal;
pub use plan::{BootPlan, PlanError};
pub use run::StepRunner;
pub use setup::{BootOutcome, set_up};
pub use steps::{BootStep, StateError, StateFacts, StateKind, state_directory, steps};
pub use words::{BootImage, KernelWords, Refused, WordError, kernel_value};
