//! Credentials for registries, from auth files and from credential helpers.
//!
//! The files are those of podman, skopeo, buildah and docker, in the order of [`Locations::auth_files`]. The first file
//! with credentials for a repository is used; a key with more of the repository's path is preferred in a file.

mod auth_file;
mod helper;

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use auth_file::{AuthEntry, Auths};

use crate::locations::{AuthFile, Locations};
use crate::text_file;

/// The longest auth file that is read.
const LONGEST_FILE: u64 = 1 << 20;
/// Time that a credential helper may take: it may ask the user or another host.
const HELPER_TIME: Duration = Duration::from_secs(60);

/// Credentials for the repositories of one registry, or for one of them.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// User name and password.
    Basic {
        /// Name of the user.
        user: String,
        /// Password or access token of the user.
        password: String,
    },
    /// Token of the authorization server, which exchanges it for tokens of the registry.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    /// Prints no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { user, .. } => f.debug_struct("Basic").field("user", user).finish_non_exhaustive(),
            Self::IdentityToken(_) => f.write_str("IdentityToken(..)"),
        }
    }
}

/// Result of a search for credentials.
#[derive(Clone, Debug, Default)]
pub struct CredentialSearch {
    /// Credentials, if a file or a helper has them.
    pub credentials: Option<Credentials>,
    /// Paths of the files that were looked into, whether they exist or not.
    pub searched: Vec<PathBuf>,
}

/// The error of an auth file or a credential helper.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("cannot read the auth file {}: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// A file is too long.
    #[error("the auth file {} has more than {LONGEST_FILE} bytes", path.display())]
    TooLong {
        /// Path of the file.
        path: PathBuf,
    },
    /// A file is not what it should be.
    #[error(
        "the auth file {} is not valid: {reason}; `podman login` writes a new one if it is removed", path.display()
    )]
    Invalid {
        /// Path of the file.
        path: PathBuf,
        /// Reason without the contents of the file, which are secret.
        reason: String,
    },
    /// A helper failed.
    #[error("the credential helper {program}, which {} names for {host}, failed: {reason}", path.display())]
    Helper {
        /// Path of the auth file that names the helper.
        path: PathBuf,
        /// Name of the program.
        program: String,
        /// Host that needs credentials.
        host: String,
        /// Reason, as far as the helper says one.
        reason: String,
    },
}

/// Looks up the credentials for the repository `path` of `host`.
///
/// `path` may be empty if no repository is meant.
///
/// # Errors
///
/// If a file that exists cannot be read or is not valid, or if a helper fails.
pub fn find(locations: &Locations, host: &str, path: &str) -> Result<CredentialSearch, CredentialsError> {
    let mut search = CredentialSearch::default();
    for file in locations.auth_files() {
        search.searched.push(file.path.clone());
        let Some(text) = read(&file)? else { continue };
        let invalid = |reason| CredentialsError::Invalid { path: file.path.clone(), reason };
        let auths = Auths::parse(&text, file.is_legacy).map_err(invalid)?;
        search.credentials = in_file(&auths, locations, &file.path, host, path)?;
        if search.credentials.is_some() {
            break;
        }
    }
    Ok(search)
}

/// Reads the auth file that the user named, if there is one, before a registry is asked: it must exist and be valid,
/// and so must its entry for the repository `path` of `host`. No helper is run.
///
/// # Errors
///
/// If the file cannot be read or is not valid.
pub fn check_named_file(locations: &Locations, host: &str, path: &str) -> Result<(), CredentialsError> {
    for file in locations.auth_files().into_iter().filter(|file| file.is_required) {
        let Some(text) = read(&file)? else { continue };
        let invalid = |reason| CredentialsError::Invalid { path: file.path.clone(), reason };
        let auths = Auths::parse(&text, file.is_legacy).map_err(invalid)?;
        if let Some(AuthEntry { key, credentials: Err(reason) }) = auths.entry(host, path) {
            return Err(invalid(format!("the entry {key:?} {reason}")));
        }
    }
    Ok(())
}

/// Looks up credentials in one file: a helper for the host, then an entry, then the helper for all hosts.
fn in_file(
    auths: &Auths,
    locations: &Locations,
    file: &Path,
    host: &str,
    path: &str,
) -> Result<Option<Credentials>, CredentialsError> {
    let ask = |name: &str| {
        let failed = |reason| {
            let (path, program) = (file.to_owned(), format!("docker-credential-{name}"));
            CredentialsError::Helper { path, program, host: host.to_owned(), reason }
        };
        helper::get(name, &locations.program_dirs, host, HELPER_TIME).map_err(failed)
    };
    if let Some(name) = auths.helper(host)
        && let Some(found) = ask(name)?
    {
        return Ok(Some(found));
    }
    match auths.entry(host, path) {
        Some(AuthEntry { key, credentials: Err(reason) }) => {
            Err(CredentialsError::Invalid { path: file.to_owned(), reason: format!("the entry {key:?} {reason}") })
        }
        Some(AuthEntry { credentials: Ok(found), .. }) => Ok(Some(found)),
        None => auths.store().map_or(Ok(None), ask),
    }
}

/// Returns the text of a file; `None` if it may be missing and is.
fn read(file: &AuthFile) -> Result<Option<Vec<u8>>, CredentialsError> {
    let path = || file.path.clone();
    let mut text = Vec::new();
    match File::open(&file.path).and_then(|opened| opened.take(LONGEST_FILE + 1).read_to_end(&mut text)) {
        Ok(_) if text.len() as u64 > LONGEST_FILE => Err(CredentialsError::TooLong { path: path() }),
        Ok(_) => Ok(Some(text)),
        Err(source) if text_file::is_missing(&source) && !file.is_required => Ok(None),
        Err(source) => Err(CredentialsError::Read { path: path(), source }),
    }
}

/// Parses an auth file and looks a repository up in it; for the fuzz targets.
#[cfg(feature = "fuzzing")]
pub(crate) fn parse(text: &[u8], host: &str, path: &str) -> Option<Credentials> {
    let auths = Auths::parse(text, false).ok()?;
    let _ = (auths.helper(host), auths.store());
    auths.entry(host, path)?.credentials.ok()
}

#[cfg(test)]
mod tests;
