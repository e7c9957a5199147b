//! Client of OCI registries: references, credentials, mirrors, policies, and transfers of manifests and blobs.
//!
//! ```text
//! text --parse--> Reference --RegistriesConf--> Endpoint --RegistryClient--> RemoteRepository --> manifests, blobs
//! ```
//!
//! [`Reference`] names an image, [`RegistriesConf`] says which endpoints serve it, [`SignaturePolicy`] whether it may be
//! used. [`RegistryClient::pull_source`] reads its manifest from the first endpoint that has it; the methods of
//! [`RemoteRepository`] transfer the rest. The crate reads no environment: [`Locations`] has the values that decide where
//! configuration files are, [`ClientOptions`] those for connections.
//!
//! All methods block. Connections are driven by a few threads of an asynchronous runtime, which the module `transport`
//! hides. What arrives is not trusted: sizes are bounded, digests are checked, and credentials go to no other host.

mod auth;
pub mod certs_d;
mod client;
pub mod credentials;
mod digest;
mod error;
mod exchange;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod locations;
mod options;
pub mod policy;
mod printable;
mod progress;
mod pull;
pub mod reference;
pub mod registries_conf;
mod repository;
mod retry;
mod text_file;
mod transport;

pub use certs_d::{CertificateError, HostCertificates};
pub use client::RegistryClient;
pub use credentials::{CredentialSearch, Credentials, CredentialsError};
pub use digest::{DigestError, RegistryDigest};
pub use error::{Error, ErrorKind, Refusal};
pub use locations::{AuthFile, Locations};
pub use options::{ClientOptions, Proxies, TlsVerify};
pub use policy::{PolicyError, PolicyVerdict, SignaturePolicy};
pub use progress::{NoProgress, TransferProgress};
pub use pull::PullSource;
pub use reference::{Reference, ReferenceError};
pub use registries_conf::{Endpoint, EndpointError, RegistriesConf, RegistriesConfError, ShortNameError};
pub use repository::{
    BlobReader, BlobSource, ManifestKind, Mount, RangesAnswer, Referrer, RemoteManifest, RemoteRepository,
};
pub use retry::RetryPolicy;
