//! The program that the tests start: `composefs oci run` and `bundle` with a directory as the image's name.

use std::path::{Path, PathBuf};

use clap::Parser;
use libcomposefs_sys::mount::{FsContext, MountAttrFlags, clone_mount};
use libcomposefs_sys::namespace::enter_private_mounts;

use crate::fixture::has_first_version;
use crate::run::{BundleArgs, RootMount, RunArgs, run_container, status_of, write_bundle};

#[derive(Parser)]
enum ChildLine {
    Container {
        #[arg(long)]
        config: PathBuf,
        #[command(flatten)]
        args: RunArgs,
    },
    Bundle {
        #[arg(long)]
        config: PathBuf,
        #[command(flatten)]
        args: BundleArgs,
    },
}

/// Runs the command and returns its exit status, if the first argument is one of the commands.
pub(crate) fn answer() -> Option<i32> {
    let first = std::env::args().nth(1)?;
    if !["container", "bundle"].contains(&first.as_str()) {
        return None;
    }
    let done = match ChildLine::parse() {
        ChildLine::Container { config, args } => hide_first_version().and_then(|()| read(&config)).and_then(|config| {
            run_container(&args, &config, |target| {
                mount_directory(Path::new(&args.name), target).map(|()| RootMount::Done)
            })
        }),
        ChildLine::Bundle { config, args } => read(&config)
            .and_then(|config| write_bundle(&args, &config, |target| mount_directory(Path::new(&args.name), target)))
            .map(|()| 0),
    };
    Some(match done {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("composefs: {error:#}");
            status_of(&error).into()
        }
    })
}

/// crun refuses a machine whose control groups are of both versions: this process alone sees those of the second.
fn hide_first_version() -> anyhow::Result<()> {
    if has_first_version() {
        enter_private_mounts()?;
        let cgroups = FsContext::open("cgroup2")?;
        cgroups.create()?;
        cgroups.mount(MountAttrFlags::empty())?.attach(Path::new("/sys/fs/cgroup"))?;
    }
    Ok(())
}

fn read(config: &Path) -> anyhow::Result<Vec<u8>> {
    Ok(std::fs::read(config)?)
}

fn mount_directory(source: &Path, target: &Path) -> anyhow::Result<()> {
    Ok(clone_mount(source)?.attach(target)?)
}
