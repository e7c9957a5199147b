//! The files of policies: where they are, and who may have written them.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use libcomposefs_trust::{POLICY_MAX, TrustPolicy};
use rustix::process::geteuid;

use super::open_file;

/// A place that has a policy.
#[derive(Clone, Debug)]
pub(super) enum PolicyPlace {
    /// The policy of the machine: the first of these files that exists.
    Machine,
    /// The policy of the user, which can only narrow that of the machine.
    User {
        /// The file.
        file: PathBuf,
        /// Directory of the state that belongs to it.
        state: PathBuf,
    },
}

const MACHINE: [&str; 2] = ["/etc/composefs/policy.toml", "/usr/lib/composefs/policy.toml"];

/// Returns the places of policies. A repository has no policy: it is what is judged.
pub(super) fn places() -> Vec<PolicyPlace> {
    let directory = |variable: &str, below_home: &str| {
        let set = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        set.or_else(|| Some(home()?.join(below_home))).map(|path| path.join("composefs"))
    };
    let mut places = vec![PolicyPlace::Machine];
    if let Some(config) = directory("XDG_CONFIG_HOME", ".config") {
        // Without a home, the state is beside the policy.
        let state = directory("XDG_STATE_HOME", ".local/state").unwrap_or_else(|| config.clone());
        places.push(PolicyPlace::User { file: config.join("policy.toml"), state });
    }
    places
}

/// Reads the policy of a place. `None` if the place has no policy.
pub(super) fn read(place: &PolicyPlace) -> anyhow::Result<Option<(PathBuf, TrustPolicy)>> {
    let files = match place {
        PolicyPlace::Machine => MACHINE.map(PathBuf::from).to_vec(),
        PolicyPlace::User { file, .. } => vec![file.clone()],
    };
    for path in files {
        let file = match open_file(&path) {
            Ok(file) => file,
            // A link to nothing in place of the directory is no missing policy.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !has_dangling_directory(&path) => continue,
            // A home that this user may not look into, such as that of root, has no policy of this user.
            Err(_) if matches!(place, PolicyPlace::User { .. }) && is_hidden(&path) => continue,
            Err(error) => {
                let reason = if path.is_symlink() {
                    "it is a symlink: write a file in its place".into()
                } else {
                    error.to_string()
                };
                bail!("cannot read the policy {}: {reason}; until then nothing is accepted", path.display());
            }
        };
        let policy = read_open(place, &path, file);
        let unusable = || format!("the policy {} cannot be used, so nothing is accepted", path.display());
        return Ok(Some((path.clone(), policy.with_context(unusable)?)));
    }
    Ok(None)
}

/// Returns whether this user may not look into a directory above the file.
fn is_hidden(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Returns whether the directory of a file is a symlink that leads nowhere.
fn has_dangling_directory(path: &Path) -> bool {
    path.parent().is_some_and(|directory| directory.is_symlink() && !directory.exists())
}

fn read_open(place: &PolicyPlace, path: &Path, file: File) -> anyhow::Result<TrustPolicy> {
    let stat = file.metadata()?;
    if !stat.is_file() {
        bail!("it is no regular file");
    }
    judge_owner(place, &stat, "it")?;
    let directory = path.parent().context("it has no directory")?;
    judge_owner(place, &directory.metadata()?, "its directory")?;
    let mut bytes = Vec::new();
    file.take(POLICY_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(TrustPolicy::parse(&bytes)?)
}

/// Refuses what others than root, or the user for the policy of the user, may have written.
fn judge_owner(place: &PolicyPlace, stat: &std::fs::Metadata, what: &str) -> anyhow::Result<()> {
    // In a user namespace, root of the machine has the owner of the root directory.
    let root = Path::new("/").metadata()?.uid();
    let is_own = matches!(place, PolicyPlace::User { .. }) && stat.uid() == geteuid().as_raw();
    if stat.uid() != 0 && stat.uid() != root && !is_own {
        bail!("{what} belongs to the user {}: `chown root` it", stat.uid());
    }
    if stat.mode() & 0o022 != 0 {
        bail!("{what} can be written by others (mode {:04o}): `chmod go-w` it", stat.mode() & 0o7777);
    }
    Ok(())
}
