//! Makes an OCI bundle for other programs, whose mounts stay.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use libcomposefs_oci::runtime::ImageProcess;

use super::args::BundleArgs;
use super::bundle::{OciBundle, make_directory};
use super::changes::{self, Durability};
use super::host::HostFacts;
use super::require_root;

/// Makes the bundle that the arguments describe.
///
/// `config` is the configuration of the image. `mount_root` mounts the root of the image, read-only, at the directory
/// that it is given.
///
/// # Errors
///
/// If a directory, a mount or a file cannot be made; then the directory of the bundle is empty again.
pub(crate) fn write_bundle(
    args: &BundleArgs,
    config: &[u8],
    mount_root: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    require_root("oci bundle")?;
    let options = args.options()?;
    let image = ImageProcess::parse(config)?;
    let host = HostFacts::gather(args.container.cgroups)?;
    let directory = empty_directory(&args.directory)?;
    let bundle = OciBundle::at(&directory, host.id());
    let changes = directory.join("changes");
    let made = bundle.and_then(|bundle| {
        let made = mount_root(&bundle.lower()).and_then(|()| {
            make_directory(&changes)?;
            changes::mount_on(&bundle, &changes, Durability::Kept, false)?;
            bundle.write(&image, &options, &host)
        });
        if made.is_err() {
            bundle.remove();
            let _ = fs::remove_dir_all(&changes);
        }
        made
    });
    made.with_context(|| format!("cannot make an OCI bundle in {}", args.directory.display()))
}

/// Makes a directory, or takes an empty one, and returns its absolute path without symlinks.
fn empty_directory(path: &Path) -> anyhow::Result<std::path::PathBuf> {
    if !path.exists() {
        make_directory(path)?;
    }
    let directory = path.canonicalize().with_context(|| format!("cannot open {}", path.display()))?;
    let mut entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(entries.next().is_none(), "{} is not empty: an OCI bundle needs a directory of its own", path.display());
    // The option of overlayfs has lists of paths.
    let has_separator = directory.as_os_str().as_encoded_bytes().iter().any(|byte| b",:\\".contains(byte));
    ensure!(!has_separator, "{} has a comma, colon or backslash: choose another path", directory.display());
    Ok(directory)
}
