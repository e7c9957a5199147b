//! `composefs run`: runs a command with an image as its root, in namespaces that end with the command.
//!
//! ```text
//! user namespace (users only) --> mount namespace: the image --> process 1 --> the command
//! ```
//!
//! The process that was called holds the mount namespace, and waits. Process 1 has a copy of it, in which the image is
//! the root, and ends with the caller, however that ends; all other processes end with process 1.

mod args;
mod inside;
pub(super) mod trace;
pub(super) mod user_maps;

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use libcomposefs_fuse::may_mount;
use libcomposefs_sys::command_namespaces::{InitPart, start_init};
use libcomposefs_sys::mount::unmount;
use libcomposefs_sys::namespace::enter_private_mounts;
use libcomposefs_sys::signal_relay::SignalRelay;

pub(crate) use self::args::PlainRunArgs;
use self::args::RunNetwork;
use self::trace::TraceOutput;
use super::mount::{MountArgs, MountPart};
use super::oci::run::{CANNOT_START, ContainerChanges};
use super::repository::RepositoryArgs;
use crate::error_text::print_error;

/// Runs the command, and returns its exit status.
pub(crate) fn run(args: &PlainRunArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_code(run_command(args, selected, None))
}

fn exit_code(status: anyhow::Result<u8>) -> ExitCode {
    ExitCode::from(status.unwrap_or_else(|error| {
        print_error("composefs", &error);
        CANNOT_START
    }))
}

fn run_command(args: &PlainRunArgs, selected: &RepositoryArgs, trace: Option<&TraceOutput>) -> anyhow::Result<u8> {
    let selected = selected.of_this_user()?;
    if !may_mount() {
        user_maps::enter_user_namespace()?;
    }
    enter_private_mounts().context("cannot create a mount namespace")?;
    let place = ContainerChanges::on_disk()?;
    let root = place.path().join("root");
    make_directory(&root, 0o700)?;
    let mount = MountArgs::for_run(&args.image, &root, mount_options(args, &place.path())?, args.via);
    let mount = match trace {
        Some(trace) => mount.traced_to(Arc::clone(&trace.lines)),
        None => mount,
    };
    match mount.run_part(&selected)? {
        MountPart::Caller => {}
        MountPart::Server(served) => {
            // The directory is removed by the caller.
            std::mem::forget(place);
            return served.map(|()| 0);
        }
    }
    // From here on a signal waits until the command takes it.
    let relay = SignalRelay::block().context("cannot block signals")?;
    match start_init(args.network == RunNetwork::None).context("cannot create a process namespace")? {
        InitPart::Init(is_set_up) => {
            std::mem::forget(place);
            let ready = is_set_up.context("cannot set up the namespaces of the command");
            let ready = ready.and_then(|()| inside::enter(&root, args.rw.is_some()));
            ready.and_then(|()| inside::run(&relay, &args.command))
        }
        InitPart::Caller(init) => {
            let status = relay.wait_process(init, false).context("cannot wait for the command");
            // Process 1 had a copy of this mount, which is gone.
            let _ = unmount(&root, true);
            drop(place);
            let status = status?;
            trace.map_or(Ok(()), TraceOutput::finish)?;
            Ok(status)
        }
    }
}

/// Returns the mount options with those of the writable layer.
fn mount_options(args: &PlainRunArgs, place: &Path) -> anyhow::Result<Vec<OsString>> {
    let mut options = args.options.clone();
    let Some(kept) = &args.rw else { return Ok(options) };
    let directory = match kept {
        Some(directory) => directory
            .canonicalize()
            .with_context(|| format!("cannot use {} for changes: --rw=DIR needs a directory", directory.display()))?,
        None => place.to_owned(),
    };
    let (upper, work) = (directory.join("upper"), directory.join("work"));
    for (path, mode) in [(&upper, 0o755), (&work, 0o700)] {
        if !path.is_dir() {
            make_directory(path, mode)?;
        }
    }
    for (name, path) in [("upperdir", upper), ("workdir", work)] {
        options.push(option(name, path.as_os_str()));
    }
    Ok(options)
}

/// Returns a mount option whose value has any bytes.
fn option(name: &str, value: &OsStr) -> OsString {
    let mut text = format!("{name}=").into_bytes();
    for &byte in value.as_bytes() {
        if matches!(byte, b',' | b':' | b'\\' | b'"') {
            text.push(b'\\');
        }
        text.push(byte);
    }
    OsString::from_vec(text)
}

fn make_directory(path: &Path, mode: u32) -> anyhow::Result<()> {
    DirBuilder::new().mode(mode).create(path).with_context(|| format!("cannot create {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_values_of_options() {
        assert_eq!(option("upperdir", "/a,b:c\\d\"".as_ref()), "upperdir=/a\\,b\\:c\\\\d\\\"");
    }
}
