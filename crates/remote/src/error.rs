//! The error of requests to registries.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::certs_d::CertificateError;
use crate::credentials::CredentialsError;
use crate::digest::RegistryDigest;
use crate::registries_conf::EndpointError;

/// Error of a request to a registry, with what was asked of which repository.
#[derive(Debug)]
pub struct Error {
    subject: Box<Subject>,
    kind: Box<ErrorKind>,
}

/// What a request is about, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    /// A verb and its object, which fit between "cannot" and the identifier: "get the blob".
    pub(crate) action: &'static str,
    /// Digest or tag; empty if the request is about the repository.
    pub(crate) identifier: String,
    /// Host as in a reference.
    pub(crate) host: String,
    /// Path of the repository.
    pub(crate) repository: String,
}

/// An answer of a registry that is no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status of the answer.
    pub status: u16,
    /// Code of the registry, such as `MANIFEST_UNKNOWN`.
    pub code: Option<String>,
    /// Message of the registry, shortened and without control characters.
    pub message: Option<String>,
}

/// Reason of an [`Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The registry cannot be reached.
    #[error("{reason}; check the name of the registry, the network and the proxy settings")]
    Connect {
        /// Reason of the HTTP library.
        reason: String,
    },
    /// The registry answers, but not by TLS.
    #[error(
        "the server does not speak TLS; if it has only plain HTTP, set `insecure = true` for it ({reason}); check the \
         name of the registry, the network and the proxy settings"
    )]
    NotTls {
        /// Reason of the TLS library.
        reason: String,
    },
    /// The certificate of the registry is not accepted.
    #[error(
        "the certificate of {server} is not accepted: {reason}; put the certificate of its authority into \
         /etc/containers/certs.d/{server}/ca.crt, or set `insecure = true` for the registry in registries.conf"
    )]
    Certificate {
        /// Host and port that showed the certificate.
        server: String,
        /// Reason of the TLS library.
        reason: String,
    },
    /// The transfer failed, again after the retries.
    #[error("the transfer failed after {retries} retries: {reason}; try again later")]
    Transfer {
        /// Number of retries.
        retries: u32,
        /// The last reason.
        reason: String,
    },
    /// The registry asks for a longer pause than is allowed.
    #[error("the registry asks to wait {seconds} s ({refusal}), the limit is {limit} s; try again later")]
    MustWait {
        /// Seconds that the registry asks for.
        seconds: u64,
        /// Limit of the options.
        limit: u64,
        /// Answer of the registry.
        refusal: Refusal,
    },
    /// The registry wants credentials, or other ones.
    #[error("{}", unauthorized(server, *had_credentials, searched, refusal))]
    Unauthorized {
        /// Host as in a reference.
        server: String,
        /// Whether credentials were found and refused.
        had_credentials: bool,
        /// Auth files that were looked into.
        searched: Vec<PathBuf>,
        /// Answer of the registry.
        refusal: Refusal,
    },
    /// The user may not do this.
    #[error("the registry denies it: {0}; the account needs the right for this repository")]
    Denied(Refusal),
    /// The registry does not have it.
    #[error("the registry does not have it: {0}")]
    NotFound(Refusal),
    /// Another answer that is no success.
    #[error("the registry answers {0}")]
    Status(Refusal),
    /// The range is outside the blob.
    #[error(
        "the requested range is outside the blob{}",
        size.map(|size| format!(", which has {size} bytes")).unwrap_or_default()
    )]
    Range {
        /// Size of the blob, if the registry says it.
        size: Option<u64>,
    },
    /// Ranges are empty, overlap, are not sorted, or are outside the size.
    #[error("the ranges to read must be sorted, not empty, without overlap, and within the {size} bytes of the blob")]
    BadRanges {
        /// Size of the blob.
        size: u64,
    },
    /// The answer is too long.
    #[error("the answer has more than {limit} bytes")]
    TooLong {
        /// The most bytes that are allowed.
        limit: u64,
    },
    /// The content has another digest.
    #[error("the content has the digest {found}, not {expected}: it was changed on the way or in the registry")]
    Digest {
        /// Digest that was asked for.
        expected: RegistryDigest,
        /// Digest of the received bytes.
        found: RegistryDigest,
    },
    /// The content has another size.
    #[error("the content has {found} bytes, {expected} were expected")]
    Size {
        /// Expected size.
        expected: u64,
        /// Size that the registry announces.
        found: u64,
    },
    /// A redirect is refused.
    #[error("the registry redirects to {target}, which is refused: {reason}")]
    Redirect {
        /// Target of the redirect, without its query.
        target: String,
        /// The rule that refuses it.
        reason: &'static str,
    },
    /// The answer does not follow the protocol.
    #[error("the answer of the registry is not valid: {reason}")]
    Protocol {
        /// The rule that the answer breaks.
        reason: String,
    },
    /// Credentials cannot be read.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Certificates cannot be read.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The source of an upload cannot be read, or the receiver of ranges failed.
    #[error("local input or output failed: {0}")]
    Local(#[source] io::Error),
    /// No endpoint may be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// An option or an argument is not valid.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    pub(crate) fn new(subject: &Subject, kind: impl Into<ErrorKind>) -> Self {
        Self { subject: Box::new(subject.clone()), kind: Box::new(kind.into()) }
    }

    /// Returns the reason.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    pub(crate) fn into_kind(self) -> ErrorKind {
        *self.kind
    }

    /// Returns the host, as in a reference.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.subject.host
    }

    /// Returns the path of the repository.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.subject.repository
    }

    /// Returns the digest or tag that the request is about.
    #[must_use]
    pub fn identifier(&self) -> Option<&str> {
        Some(self.subject.identifier.as_str()).filter(|identifier| !identifier.is_empty())
    }

    /// Returns the HTTP status, if the registry answered with one that is no success.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.kind() {
            ErrorKind::Denied(refusal)
            | ErrorKind::NotFound(refusal)
            | ErrorKind::Status(refusal)
            | ErrorKind::MustWait { refusal, .. }
            | ErrorKind::Unauthorized { refusal, .. } => Some(refusal.status),
            ErrorKind::Range { .. } => Some(416),
            _ => None,
        }
    }

    /// Reports whether the registry says that it does not have the content.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind(), ErrorKind::NotFound(_))
    }
}

impl ErrorKind {
    /// Puts the number of retries into a failure that has one.
    pub(crate) fn after(self, retries: u32) -> Self {
        match self {
            Self::Transfer { reason, .. } => Self::Transfer { retries, reason },
            other => other,
        }
    }

    /// Returns the failure of a transfer that was begun again several times. Whether the last one was cut, or the
    /// registry had forgotten what was sent before, depends on the moment of the cut.
    pub(crate) fn given_up_after(self, retries: u32) -> Self {
        match self {
            Self::Transfer { reason, .. } => Self::Transfer { retries, reason },
            other => Self::Transfer { retries, reason: other.to_string() },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject { action, identifier, host, repository } = self.subject.as_ref();
        match identifier {
            none if none.is_empty() => write!(f, "cannot {action} of {host}/{repository}")?,
            digest if digest.contains(':') => write!(f, "cannot {action} {digest} of {host}/{repository}")?,
            tag => write!(f, "cannot {action} of {host}/{repository}:{tag}")?,
        }
        write!(f, ": {}", self.kind)?;
        match self.kind() {
            ErrorKind::NotFound(_) => f.write_str(&self.subject.advice_if_missing()),
            _ => Ok(()),
        }
    }
}

impl Subject {
    /// Returns what to do if the registry does not have it, as the end of a message.
    fn advice_if_missing(&self) -> String {
        let Self { action, identifier, host, repository } = self;
        match (identifier.contains(':'), action.contains("manifest")) {
            _ if identifier.is_empty() => String::new(),
            (false, _) => {
                format!("; check the name and the tag: `skopeo list-tags docker://{host}/{repository}` lists all tags")
            }
            (true, true) => "; check the name and the digest: the registry may have removed the image".to_owned(),
            (true, false) => "; the image in the registry is incomplete: push it again".to_owned(),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.kind.as_ref())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound(_) => io::ErrorKind::NotFound,
            ErrorKind::Digest { .. } | ErrorKind::Size { .. } | ErrorKind::TooLong { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

fn unauthorized(server: &str, had_credentials: bool, searched: &[PathBuf], refusal: &Refusal) -> String {
    let files: Vec<_> = searched.iter().map(|path| path.display().to_string()).collect();
    let files = if files.is_empty() { "no file".to_owned() } else { files.join(", ") };
    let what = if had_credentials { "the registry refuses the credentials" } else { "the registry wants credentials" };
    format!(
        "{what} ({refusal}), or the repository does not exist; looked for credentials of {server} in {files}; \
         `podman login {server}` stores them"
    )
}
