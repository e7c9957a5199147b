//! Command line of the commands that read an image outside a repository: the image, and how its layers are read.

use std::ffi::OsString;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_oci::layer::{WhiteoutRule, XattrFilter};
use libcomposefs_oci::pull::PullOptions;

use super::source;
use crate::complete;

/// An image outside a repository, and the options for reading it.
#[derive(clap::Args)]
pub(super) struct ReadArgs {
    /// Image to read
    #[arg(value_name = "SOURCE", add = ArgValueCompleter::new(complete::oci_sources))]
    pub(super) source: OsString,
    #[command(flatten)]
    origin: source::SourceArgs,
    /// Extended attributes that the image keeps: security.capability alone, or user.* too
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = XattrsArg::AllowlistOnly)]
    xattrs: XattrsArg,
    /// Effect of whiteouts on entries of their own layer
    #[arg(long, value_name = "RULE", value_enum, default_value_t = WhiteoutsArg::InOrder)]
    whiteouts: WhiteoutsArg,
    /// Largest size of an uncompressed layer in bytes [default: 1 GiB and a hundred times its compressed size]
    #[arg(long, value_name = "BYTES")]
    max_layer_size: Option<u64>,
    /// Largest window of zstd in MiB, a power of two, at most 2048. Each layer that is read may take as much memory
    #[arg(long, value_name = "MIB", value_parser = parse_window, default_value = "128")]
    max_window: u32,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum XattrsArg {
    /// Only security.capability
    AllowlistOnly,
    /// security.capability and user.*
    KeepUserXattrs,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum WhiteoutsArg {
    /// Remove all that comes earlier in the layer too, as cfsctl does
    InOrder,
    /// Hide lower layers only, as the OCI specification says
    Spec,
}

/// Largest window that zstd has, in MiB (RFC 8878, section 3.1.1.1.2, and the limit of its library).
const WINDOW_MAX: u32 = 2048;

/// Parses a number of MiB, and returns the binary logarithm of the number of bytes.
fn parse_window(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(mib @ 1..=WINDOW_MAX) if mib.is_power_of_two() => Ok(mib.ilog2() + 20),
        _ => Err(format!("expected a power of two from 1 to {WINDOW_MAX}")),
    }
}

impl ReadArgs {
    /// Opens the image.
    pub(super) fn open(&self) -> anyhow::Result<source::OpenSource> {
        source::open(&self.source, &self.origin)
    }

    /// Returns the options for reading its layers.
    pub(super) fn options(&self) -> PullOptions {
        let mut options = PullOptions::default();
        options.platform = self.origin.platform().cloned();
        options.xattrs = match self.xattrs {
            XattrsArg::AllowlistOnly => XattrFilter::Allowlist,
            XattrsArg::KeepUserXattrs => XattrFilter::User,
        };
        options.whiteouts = match self.whiteouts {
            WhiteoutsArg::InOrder => WhiteoutRule::InOrder,
            WhiteoutsArg::Spec => WhiteoutRule::LowerLayers,
        };
        options.layer_size_max = self.max_layer_size;
        options.window_log = self.max_window;
        options
    }
}
