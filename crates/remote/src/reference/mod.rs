//! Names of images in registries: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.

mod grammar;

use std::fmt;
use std::str::FromStr;

use crate::digest::{DigestError, RegistryDigest};

/// Host of references that name no host.
pub const DOCKER_HUB: &str = "docker.io";
/// Host that serves the references of [`DOCKER_HUB`].
const DOCKER_HUB_SERVER: &str = "registry-1.docker.io";
/// Tag of references that have neither tag nor digest.
const DEFAULT_TAG: &str = "latest";
/// The longest name, host and path together, as in other clients.
const LONGEST_NAME: usize = 255;

/// Complete reference to an image in a registry.
///
/// The text form is the full one, so `debian:13` is displayed as `docker.io/library/debian:13`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<RegistryDigest>,
}

/// The error of a text that is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The text names a transport.
    #[error("{text:?} is no reference to a registry: it begins with a transport, which the reference must not have")]
    Transport {
        /// Text that was parsed.
        text: String,
    },
    /// The host is not well-formed.
    #[error(
        "the host in {text:?} is not valid: it is a host name or an address, and a port if needed (`podman login` \
         stores the name and password of a user)"
    )]
    Host {
        /// Text that was parsed.
        text: String,
    },
    /// The path is not well-formed.
    #[error(
        "the path in {text:?} is not valid: its parts are lowercase letters and digits, separated by `.`, `_`, `__` or \
         `-`"
    )]
    Path {
        /// Text that was parsed.
        text: String,
    },
    /// The tag is not well-formed.
    #[error("the tag in {text:?} is not valid: it has at most 128 letters, digits, `_`, `.` and `-`")]
    Tag {
        /// Text that was parsed.
        text: String,
    },
    /// The digest is not supported.
    #[error("the digest in {text:?} is not valid: {source}")]
    Digest {
        /// Text that was parsed.
        text: String,
        /// The reason.
        source: DigestError,
    },
    /// The name is too long.
    #[error("{text:?} is not valid: host and path together have at most {LONGEST_NAME} bytes")]
    TooLong {
        /// The beginning of the text that was parsed.
        text: String,
    },
}

impl Reference {
    /// Returns the host, with its port if the reference has one; `docker.io` for Docker Hub.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the host that requests go to: that of Docker Hub has another name.
    #[must_use]
    pub fn server(&self) -> &str {
        server_of(&self.host)
    }

    /// Returns the path of the repository in its registry, such as `library/debian`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the tag; `None` if only a digest is given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest. It decides which manifest is meant even if there is a tag.
    #[must_use]
    pub fn digest(&self) -> Option<&RegistryDigest> {
        self.digest.as_ref()
    }

    /// Returns the name without tag and digest, such as `docker.io/library/debian`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// Returns the last part of the name's requests: the digest if there is one, otherwise the tag.
    #[must_use]
    pub fn identifier(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => DEFAULT_TAG,
        }
    }

    /// Returns the same repository with another tag, and without digest.
    ///
    /// # Errors
    ///
    /// If the tag is not well-formed.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !grammar::is_tag(tag) {
            return Err(ReferenceError::Tag { text: tag.to_owned() });
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// Returns the same repository with another digest, and without tag.
    #[must_use]
    pub fn with_digest(&self, digest: RegistryDigest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// Reports whether a text names its host, so that no list of short names decides about it.
    #[must_use]
    pub fn has_host(text: &str) -> bool {
        grammar::split_host(text).0.is_some()
    }
}

/// Reports whether the text of a reference has a tag or a digest.
pub(crate) fn names_identifier(text: &str) -> bool {
    let (_, tag, digest) = grammar::split_identifiers(text);
    tag.is_some() || digest.is_some()
}

/// Returns the host that serves the repositories of `host`.
pub(crate) fn server_of(host: &str) -> &str {
    if host == DOCKER_HUB { DOCKER_HUB_SERVER } else { host }
}

/// Returns a host in the form in which hosts are compared: in lowercase.
///
/// A host that is a host by its uppercase letters alone, such as `Registry`, stays as it is written: `registry/image`
/// names a repository of Docker Hub.
fn comparable_host(host: &str) -> String {
    if grammar::is_host_by_case(host) { host.to_owned() } else { host.to_ascii_lowercase() }
}

/// Splits `HOST[:PORT]/PATH` of a configuration file; `None` if a part is not well-formed.
///
/// Other than in a reference, the first part is always the host.
pub(crate) fn split_location(name: &str) -> Option<(String, String)> {
    let (host, path) = name.split_once('/')?;
    let is_valid = name.len() <= LONGEST_NAME && grammar::is_host(host) && grammar::is_path(path);
    is_valid.then(|| (comparable_host(host), path.to_owned()))
}

/// Reports whether `path` is a well-formed path of a repository.
#[cfg(feature = "client")]
pub(crate) fn is_path(path: &str) -> bool {
    path.len() <= LONGEST_NAME && grammar::is_path(path)
}

/// Reports whether `tag` is a well-formed tag.
#[cfg(feature = "client")]
pub(crate) fn is_tag(tag: &str) -> bool {
    grammar::is_tag(tag)
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let owned = || text.chars().take(2 * LONGEST_NAME).collect::<String>();
        if text.contains("://") {
            return Err(ReferenceError::Transport { text: owned() });
        }
        if let Some((_, rest)) = text.split_once('@')
            && rest.contains('/')
        {
            // The text before it may be a password, which is not repeated.
            return Err(ReferenceError::Host { text: format!("...@{}", rest.chars().take(64).collect::<String>()) });
        }
        let (name, tag, digest) = grammar::split_identifiers(text);
        let (host, path) = grammar::split_host(name);
        let host = host.unwrap_or(DOCKER_HUB);
        if !grammar::is_host(host) {
            return Err(ReferenceError::Host { text: owned() });
        }
        let host = comparable_host(host);
        if !grammar::is_path(path) {
            return Err(ReferenceError::Path { text: owned() });
        }
        if tag.is_some_and(|tag| !grammar::is_tag(tag)) {
            return Err(ReferenceError::Tag { text: owned() });
        }
        let digest = digest.map(RegistryDigest::from_str).transpose();
        let digest = digest.map_err(|source| ReferenceError::Digest { text: owned(), source })?;
        let is_hub = ["index.docker.io", DOCKER_HUB_SERVER].contains(&host.as_str());
        let host = if is_hub { DOCKER_HUB.to_owned() } else { host };
        let is_official = host == DOCKER_HUB && !path.contains('/');
        let path = if is_official { format!("library/{path}") } else { path.to_owned() };
        // The full name counts, so that its text is a reference too.
        if host.len() + 1 + path.len() > LONGEST_NAME {
            return Err(ReferenceError::TooLong { text: owned() });
        }
        let tag = tag.or(if digest.is_none() { Some(DEFAULT_TAG) } else { None });
        Ok(Self { host, path, tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
