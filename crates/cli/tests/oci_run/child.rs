//! The program that the tests start: `composefs oci run` and `bundle` with a directory as the image's name.

use std::path::{Path, PathBuf};

use clap::Parser;
use libcomposefs_sys::mount::clone_mount;

use crate::run::{BundleArgs, RunArgs, run_container, status_of, write_bundle};

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
        ChildLine::Container { config, args } => read(&config)
            .and_then(|config| run_container(&args, &config, |target| mount_directory(Path::new(&args.name), target))),
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

fn read(config: &Path) -> anyhow::Result<Vec<u8>> {
    Ok(std::fs::read(config)?)
}

fn mount_directory(source: &Path, target: &Path) -> anyhow::Result<()> {
    Ok(clone_mount(source)?.attach(target)?)
}
