//! Command line of `composefs run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ValueEnum;
use clap_complete::engine::ArgValueCompleter;

use crate::commands::mount::Via;
use crate::complete;

/// Run a command with an image as its root directory.
///
/// Makes a process and a mount namespace, and for a user without privileges a user namespace, mounts the image there,
/// and runs the command in it, with a new /proc and a small /dev. The image is read-only and verified as by `composefs
/// mount`, /tmp is an empty file system in memory. When the command ends, all of its processes and mounts end.
///
/// The command has the environment of the caller, except PATH. As root, it has all rights of root: this is no sandbox.
/// `composefs oci run` runs containers as their configuration says.
#[derive(clap::Args)]
#[command(after_help = RUN_HELP)]
pub(crate) struct PlainRunArgs {
    /// Image: the path of a file, or a ref or digest of an image in a repository
    #[arg(value_name = "IMAGE|REF|DIGEST", add = ArgValueCompleter::new(complete::images))]
    pub(super) image: PathBuf,

    /// Mount options as of `composefs mount`, separated by commas; may be given several times
    #[arg(short, long, value_name = "OPTIONS")]
    pub(super) options: Vec<OsString>,

    /// Way to mount, as of `composefs mount`
    #[arg(long, value_enum, default_value_t, value_name = "WAY")]
    pub(super) via: Via,

    /// Make the root writable; changes go with the command, or are kept in DIR/upper
    #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "an option with an optional value")]
    pub(super) rw: Option<Option<PathBuf>>,

    /// Network of the command: that of the caller, or only a loopback interface
    #[arg(long, value_enum, default_value_t = RunNetwork::Host)]
    pub(super) network: RunNetwork,

    /// Command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<OsString>,
}

/// Value of `--network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RunNetwork {
    Host,
    None,
}

const RUN_HELP: &str = "\
Exit status: that of the command; 128 plus the number of the signal that ended it; 127 if the command is not in the
image, 126 if it cannot be executed, 125 if it cannot be started for another reason, 2 for a usage error. Signals that
are sent to composefs are passed on to the command.

A user without privileges is root in the user namespace. If /etc/subuid and /etc/subgid give the user ids, and
newuidmap and newgidmap are installed, these ids are there too, from 1; else all other owners are shown as 65534.

Examples:
  composefs --repo=images run debian/13 -- sh -c 'cat /etc/os-release'
  composefs run rootfs.img -o basedir=objects -- /bin/bash
  composefs --repo=images run --rw debian/13 -- apt-get update
  composefs --repo=images run --rw=changes --network=none debian/13 -- make -C /src";
