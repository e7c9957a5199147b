//! Remotes as people write them: a directory, a URL or a name.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::bail;
use libcomposefs_repo::RemoteName;

use crate::commands::repository::RepositoryArgs;

/// A remote on the command line.
#[derive(Clone, Debug)]
pub(crate) struct RemoteOperand(String);

/// A location, by its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    Directory(PathBuf),
    /// A URL with its scheme.
    Url {
        scheme: String,
        url: String,
    },
}

impl FromStr for RemoteOperand {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl RemoteOperand {
    /// Returns the location, for a name that of the repository.
    pub(super) fn location(&self, selected: &RepositoryArgs) -> anyhow::Result<Location> {
        match Location::parse(&self.0)? {
            Some(location) => Ok(location),
            None => {
                let name: RemoteName = self.0.parse()?;
                let entry = selected.open()?.remote(&name)?;
                match Location::parse(&entry.url)? {
                    Some(location) => Ok(location),
                    None => {
                        bail!("the location of the remote {name} is neither a directory nor a URL: {:?}", entry.url)
                    }
                }
            }
        }
    }

    /// Returns the remote of a text that [`to_stored`](Self::to_stored) returned.
    pub(in crate::commands) fn stored(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Returns the location as text that stays right: a directory by its absolute path, a name as that of the
    /// repository.
    pub(in crate::commands) fn to_stored(&self, selected: &RepositoryArgs) -> anyhow::Result<String> {
        match self.location(selected)? {
            Location::Directory(path) => match std::path::absolute(&path)?.to_str() {
                Some(path) => Ok(path.to_owned()),
                None => bail!("the path {} is not UTF-8", path.display()),
            },
            Location::Url { url, .. } => Ok(url),
        }
    }

    /// Returns the text for the file of a remote: a directory by its absolute path.
    pub(super) fn to_store(&self) -> anyhow::Result<String> {
        match Location::parse(&self.0)? {
            Some(Location::Directory(path)) => match std::path::absolute(&path)?.to_str() {
                Some(path) => Ok(path.to_owned()),
                None => bail!("the path {} is not UTF-8", path.display()),
            },
            Some(Location::Url { url, .. }) => Ok(url),
            None => bail!("{:?} is no location: write a URL, or a directory with `/` or `./`", self.0),
        }
    }
}

impl Location {
    /// Reads a location; `None` for a name.
    fn parse(text: &str) -> anyhow::Result<Option<Self>> {
        let is_path = text.starts_with('/') || matches!(text, "." | "..");
        if is_path || text.starts_with("./") || text.starts_with("../") {
            return Ok(Some(Location::Directory(Path::new(text).to_owned())));
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Ok(None) };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let has_password = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
        // Neither shells nor files of repositories keep secrets.
        if has_password {
            bail!("the {scheme} URL has a password: use the environment, ~/.netrc or an agent for it");
        }
        Ok(Some(Location::Url { scheme: scheme.to_ascii_lowercase(), url: text.to_owned() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_have_their_form() {
        let parse = |text: &str| Location::parse(text).unwrap();
        for directory in ["/srv/remote", "./remote", "../remote", ".", "..", "/"] {
            assert_eq!(parse(directory), Some(Location::Directory(directory.into())));
        }
        for name in ["backup", "remote", "debian.org", ""] {
            assert_eq!(parse(name), None, "{name}");
        }
        let url = "HTTPS://images.example.org/a@b:c";
        assert_eq!(parse(url), Some(Location::Url { scheme: "https".into(), url: url.into() }));
        assert!(parse("ssh://user@host/srv").is_some());
        let error = Location::parse("https://user:secret@host/").unwrap_err().to_string();
        assert!(!error.contains("secret") && error.contains("password"), "{error}");
    }
}
