//! The mount of a kernel that has no lazy mounts: all of the image is fetched, then it is mounted as any other.

use std::path::Path;

use libcomposefs_delivery::{DeliveryPullOptions, Patience, Remote, plan, pull};
use libcomposefs_repo::Repository;

use super::LazyMount;
use crate::commands::mount::{MountArgs, MountPart, repository_image, with_remedy};
use crate::commands::remote::{CONNECTIONS, RemoteOperand, TransferDisplay, admit, make_file, open_remote};
use crate::commands::repository::{NameKind, tell_of_waiting};

/// Fetches the image, and mounts it.
pub(super) fn run(mount: &LazyMount<'_>, reason: &str) -> anyhow::Result<MountPart> {
    tell!("composefs: {reason}: all of {} is fetched before it is mounted", mount.name.as_str());
    let repository = mount.selected.open()?.telling(tell_of_waiting);
    fetch(mount, &repository)?;
    let args = mount.args;
    let image = mount.name.as_str().into();
    let whole = MountArgs { json: args.json, ..MountArgs::of(image, args.target.clone(), Vec::new(), args.via) };
    repository_image::run(&whole, mount.options.clone(), &repository, NameKind::Ref)
}

fn fetch(mount: &LazyMount<'_>, repository: &Repository) -> anyhow::Result<()> {
    let store = open_remote(&RemoteOperand::stored(&mount.location), mount.selected, &mount.args.server)?;
    let remote = Remote::new(&*store, Patience::default());
    let plan = plan(repository, &remote, &mount.name)?;
    let digest = plan.document.image.digest;
    mount.options.expect(Path::new(&mount.location), &digest).map_err(|error| with_remedy(&error))?;
    let signatures = plan.document.signatures();
    let names = vec![mount.name.clone()];
    admit(repository, digest, &names, &signatures)?;
    for signature in &signatures {
        repository.add_signature(&digest, signature)?;
    }
    let display = TransferDisplay::start();
    let options =
        DeliveryPullOptions { connections: CONNECTIONS, rate_limit: None, make_file: &make_file, progress: &display };
    pull(repository, &remote, &plan, names, &options)?;
    Ok(())
}
