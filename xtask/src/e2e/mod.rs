//! `cargo xtask e2e ENGINE`: the engines that use composefs today, the real ones, on what was built here.

mod boot;
mod chroot;
mod containers;
mod dist;
mod guides;
mod ipe;
mod lxc;
mod ostree;
mod podman;
mod sid;

use std::thread::JoinHandle;

use anyhow::Result;

use crate::test::report::{Report, Suite};
use crate::{artifacts, setup};

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    engine: Engine,
}

#[derive(clap::Subcommand)]
enum Engine {
    /// Disks of `composefs disk` under OVMF with Secure Boot and systemd-boot.
    Boot(boot::Options),
    /// Debian's ostree and its own tests on our libcomposefs.so.1.
    Ostree(ostree::Options),
    /// The Debian packages of `cargo xtask dist`, in place of Debian's own, under Debian's ostree.
    Dist(dist::Options),
    /// The commands of the guides in docs/guides.
    Guides(guides::Options),
    /// Policies of `composefs ipe-policy` in a kernel that enforces them.
    Ipe(ipe::Options),
    /// Debian's LXC: containers whose root is an overlay on a composefs mount.
    Lxc(lxc::Options),
    /// Debian's podman on our mkcomposefs and mount.composefs.
    Podman(podman::Options),
}

impl Engine {
    fn name(&self) -> &'static str {
        match self {
            Engine::Boot(_) => "boot",
            Engine::Ostree(_) => "ostree",
            Engine::Dist(_) => "dist",
            Engine::Guides(_) => "guides",
            Engine::Ipe(_) => "ipe",
            Engine::Lxc(_) => "lxc",
            Engine::Podman(_) => "podman",
        }
    }

    fn run(&self) -> Result<Vec<Suite>> {
        match self {
            Engine::Boot(options) => boot::run(options),
            Engine::Ostree(options) => ostree::run(options),
            Engine::Dist(options) => dist::run(options),
            Engine::Guides(options) => guides::run(options),
            Engine::Ipe(options) => ipe::run(options),
            Engine::Lxc(options) => lxc::run(options),
            Engine::Podman(options) => podman::run(options),
        }
    }
}

/// Returns the engines of `cargo xtask test` whose names are wanted.
pub(crate) fn engines(full: bool, wanted: impl Fn(&str) -> bool) -> Engines {
    let mut all = vec![
        Engine::Ostree(ostree::Options { all: full }),
        Engine::Podman(podman::Options {}),
        Engine::Lxc(lxc::Options {}),
        Engine::Guides(guides::Options::all()),
        Engine::Dist(dist::Options { all: full }),
    ];
    if full {
        all.push(Engine::Ipe(ipe::Options { all: full }));
        all.push(Engine::Boot(boot::Options::all()));
    }
    Engines(all.into_iter().filter(|engine| wanted(engine.name())).collect())
}

/// The engines that a run selects.
pub(crate) struct Engines(Vec<Engine>);

impl Engines {
    /// Begins to build the systems that are not there yet, which takes minutes of waiting for the archive. What fails
    /// is told when an engine is run.
    pub(crate) fn prepare(&self) -> Option<JoinHandle<()>> {
        let prepare = || {
            let _ = containers::set_up();
            let _ = sid::set_up();
        };
        (!self.0.is_empty() && is_root()).then(|| std::thread::spawn(prepare))
    }

    /// Runs the engines and returns their results; one that cannot run is a failed suite.
    pub(crate) fn run(self) -> Vec<Suite> {
        self.0
            .into_iter()
            .flat_map(|engine| {
                let name = engine.name();
                if !is_root() {
                    let skips = vec![(name.to_owned(), "only root can build and enter its system".to_owned())];
                    let (kind, name) = ("e2e".to_owned(), name.to_owned());
                    return vec![Suite { kind, name, skipped: 1, skips, finished: true, ..Suite::default() }];
                }
                engine.run().unwrap_or_else(|error| vec![Suite::broken("e2e", name, format!("{error:#}"))])
            })
            .collect()
    }

    /// Builds what the engines install in their systems.
    pub(crate) fn build(&self) -> Result<()> {
        if !self.0.is_empty() && is_root() {
            artifacts::program()?;
            artifacts::library()?;
        }
        Ok(())
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// The task: fails unless all went well.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run()?;
    let mut report = Report::default();
    report.extend(options.engine.run()?);
    report.print();
    if report.failed() > 0 {
        std::process::exit(1);
    }
    Ok(())
}
