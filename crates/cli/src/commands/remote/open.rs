//! The store of a location, by its scheme.

use anyhow::bail;
use libcomposefs_delivery::{DirectoryStore, Patience, RemoteStore};

use super::operand::{Location, RemoteOperand};
use super::server_args::ServerArgs;
use crate::commands::repository::RepositoryArgs;
use crate::interrupt::Interrupt;

/// Opens the store of a remote. The repository is opened only for a name.
pub(in crate::commands) fn open(
    remote: &RemoteOperand,
    selected: &RepositoryArgs,
    server: &ServerArgs,
) -> anyhow::Result<Box<dyn RemoteStore>> {
    match remote.location(selected)? {
        Location::Directory(path) if !path.exists() => {
            bail!("there is no remote {}: the first `composefs push` makes it, or the path is wrong", path.display())
        }
        location => open_location(&location, server),
    }
}

/// Opens the store of a remote for writing. It need not exist.
pub(super) fn open_new(
    remote: &RemoteOperand,
    selected: &RepositoryArgs,
    server: &ServerArgs,
) -> anyhow::Result<Box<dyn RemoteStore>> {
    open_location(&remote.location(selected)?, server)
}

fn open_location(location: &Location, server: &ServerArgs) -> anyhow::Result<Box<dyn RemoteStore>> {
    server.expect_usable(match location {
        Location::Directory(_) => None,
        Location::Url { scheme, .. } => Some(scheme),
    })?;
    match location {
        Location::Directory(path) => Ok(Box::new(DirectoryStore::open(path)?)),
        #[cfg(feature = "network")]
        Location::Url { scheme, url } => super::network::open(scheme, url, server),
        #[cfg(not(feature = "network"))]
        Location::Url { scheme, .. } => bail!("this program has no remotes of the kind {scheme}://: use a directory"),
    }
}

/// Returns the patience of a command that signals cancel.
pub(super) fn patience(interrupt: &Interrupt) -> Patience {
    Patience { interrupt: Some(interrupt.flag()), ..Patience::default() }
}
