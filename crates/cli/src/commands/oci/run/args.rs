//! Command lines of `composefs oci run` and `composefs oci bundle`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_oci::runtime::{BindMount, CgroupLimits, ContainerNetwork, RunOptions, TmpfsMount};

use super::{sizes, volume};
use crate::complete;

/// Run a command in a container on an image.
///
/// The root of the container is the mounted image with a directory for changes on top, which is removed when the
/// command ends. crun or runc starts the container, with the security defaults of podman: its capabilities, seccomp
/// profile, masked and read-only paths, and namespaces of its own.
///
/// Without root the container is in a user namespace, in which the caller is root, and a process of the caller serves
/// and verifies the image, as with `composefs run`. It then needs crun, has no limits of memory and CPUs, and knows
/// other users than root only by the caller's lines in /etc/subuid and /etc/subgid.
#[derive(clap::Args)]
#[command(after_help = RUN_HELP)]
pub(crate) struct RunArgs {
    /// Image, by its name or by the digest of its manifest (sha256:HEX)
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) container: ContainerArgs,

    /// Keep standard input open; without it the command reads an empty file
    #[arg(short, long)]
    pub(crate) interactive: bool,

    /// Give the command a terminal of its own; standard input must be a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,

    /// Accepted for podman's command lines: the container is always removed
    #[arg(long)]
    rm: bool,

    /// Command instead of the image's Cmd; follows the image's Entrypoint
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

const RUN_HELP: &str = "\
Exit status: that of the command; 128 plus the number of the signal that ended it; 127 if the command is not in the
image, 126 if it cannot be executed, 125 if the container cannot be started, 2 if the command line is wrong. As with
podman it is 1 if only the kernel finds out that it cannot be executed: another architecture, a missing interpreter.

Examples:
  composefs --repo=/srv/images oci run debian -- ls -l /
  composefs --repo=/srv/images oci run -it --network=host debian -- bash
  composefs --repo=/srv/images oci run --read-only --tmpfs=/cache --memory=512m --cpus=1.5 -v /srv/data:/data:ro app";

/// Make an OCI runtime bundle on an image.
///
/// DIR gets config.json for crun, runc and other runtimes, and rootfs, where the image is mounted with a directory for
/// changes on top. The mounts stay: unmount DIR/rootfs and DIR/lower to remove the OCI bundle. Needs root.
#[derive(clap::Args)]
#[command(after_help = BUNDLE_HELP)]
pub(crate) struct BundleArgs {
    /// Image, by its name or by the digest of its manifest (sha256:HEX)
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::oci_names))]
    pub(crate) name: String,

    /// Directory of the OCI bundle; must be missing or empty
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,

    #[command(flatten)]
    pub(crate) container: ContainerArgs,

    /// Give the command a terminal of its own
    #[arg(short, long)]
    tty: bool,

    /// Command instead of the image's Cmd; follows the image's Entrypoint
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

const BUNDLE_HELP: &str = "\
Examples:
  composefs --repo=/srv/images oci bundle debian /run/debian -- bash -c 'echo hello'
  crun run --bundle=/run/debian hello
  umount /run/debian/rootfs /run/debian/lower";

/// Options of a container.
#[derive(clap::Args)]
pub(crate) struct ContainerArgs {
    /// Set an environment variable; a NAME alone has the value that it has here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,

    /// Make a file or directory of the host visible in the container
    #[arg(short, long, value_name = "SOURCE:DIR[:OPTIONS]", value_parser = volume::parse_bind)]
    volume: Vec<BindMount>,

    /// Mount an empty file system in memory
    #[arg(long, value_name = "DIR[:OPTIONS]", value_parser = volume::parse_tmpfs)]
    tmpfs: Vec<TmpfsMount>,

    /// Network of the container: only a loopback interface, or all interfaces of the host
    #[arg(long, value_enum, default_value_t = Network::None)]
    network: Network,

    /// Refused: ports need a network of podman
    #[arg(short, long, hide = true, value_name = "PORT")]
    publish: Vec<String>,

    /// Make the root of the container read-only, except /run, /tmp, /var/tmp and the image's volumes
    #[arg(long)]
    read_only: bool,

    /// Largest amount of memory, such as 512m
    #[arg(short, long, value_name = "SIZE", value_parser = sizes::parse_memory)]
    memory: Option<u64>,

    /// Largest number of CPUs, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = sizes::parse_cpus)]
    cpus: Option<u64>,

    /// Use control groups, or none: for hosts where they cannot be changed
    #[arg(long, value_enum, default_value_t = Cgroups::Enabled)]
    pub(crate) cgroups: Cgroups,

    /// Program that starts the container [default: crun, or runc if crun is not installed]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) runtime: Option<OsString>,
}

/// Value of `--network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    None,
    Host,
}

/// Value of `--cgroups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cgroups {
    Enabled,
    Disabled,
}

impl RunArgs {
    /// Returns the options for the configuration of the runtime.
    pub(super) fn options(&self) -> anyhow::Result<RunOptions> {
        self.container.options(&self.command, self.tty)
    }
}

impl BundleArgs {
    /// Returns the options for the configuration of the runtime.
    pub(super) fn options(&self) -> anyhow::Result<RunOptions> {
        self.container.options(&self.command, self.tty)
    }
}

impl ContainerArgs {
    fn options(&self, command: &[String], terminal: bool) -> anyhow::Result<RunOptions> {
        if !self.publish.is_empty() {
            bail!(
                "-p is not supported: composefs has no network for containers; use --network=host, or podman on a \
                 mount of composefs oci mount (podman run -p PORT --rootfs DIR:O)"
            );
        }
        if self.cgroups == Cgroups::Disabled && (self.memory.is_some() || self.cpus.is_some()) {
            bail!("--memory and --cpus need control groups: leave out --cgroups=disabled");
        }
        let mut env = Vec::new();
        for variable in &self.env {
            match variable.split_once('=') {
                Some((name, value)) => env.push((name.to_owned(), value.to_owned())),
                // As in podman, one that is not set here is left out.
                None => env.extend(std::env::var(variable).ok().map(|value| (variable.clone(), value))),
            }
        }
        for BindMount { source, .. } in &self.volume {
            // The runtimes say only that they cannot start the container.
            std::fs::symlink_metadata(source)
                .with_context(|| format!("--volume: cannot make {} visible in the container", source.display()))?;
        }
        let network = match self.network {
            Network::None => ContainerNetwork::None,
            Network::Host => ContainerNetwork::Host,
        };
        Ok(RunOptions {
            command: command.to_vec(),
            env,
            binds: self.volume.clone(),
            tmpfs: self.tmpfs.clone(),
            network,
            terminal,
            read_only: self.read_only,
            limits: CgroupLimits { memory: self.memory, cpu_quota: self.cpus, pids: None },
        })
    }
}
