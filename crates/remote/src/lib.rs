//! Client of OCI registries: references, credentials, mirrors, policies, and transfers of manifests and blobs.
//!
//! ```text
//! text --parse--> Reference --RegistriesConf--> Endpoint --RegistryClient--> RemoteRepository --> manifests, blobs
//! ```
//!
//! [`Reference`] names an image, [`RegistriesConf`] says which endpoints serve it, [`SignaturePolicy`] whether it may
//! be used: the caller asks it before a transfer. [`RegistryClient::pull_source`] reads the manifest of an image from
//! the first endpoint that has it; the methods of [`RemoteRepository`] transfer the rest. The crate reads no
//! environment:
//! [`Locations`] has the values that decide where configuration files are, [`ClientOptions`] those for connections.
//!
//! Without the feature `client`, which is on by default, only the readers of names and configuration files are built.
//!
//! All methods block. Connections are driven by a few threads of an asynchronous runtime, which the module `transport`
//! hides. What arrives is not trusted: sizes are bounded, digests are checked, and credentials go to no other host.

pub mod certs_d;
#[cfg(feature = "client")]
mod client;
mod conf_error;
pub mod credentials;
mod digest;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod exchange;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod locations;
#[cfg(feature = "client")]
mod options;
pub mod policy;
mod printable;
#[cfg(feature = "client")]
mod progress;
#[cfg(feature = "client")]
mod pull;
pub mod reference;
pub mod registries_conf;
#[cfg(feature = "client")]
mod repository;
#[cfg(feature = "client")]
mod retry;
mod ssh;
pub mod storage_conf;
#[cfg(feature = "client")]
mod stores;
mod text_file;
#[cfg(feature = "client")]
mod token;
#[cfg(feature = "client")]
mod transport;
#[cfg(any(feature = "client", feature = "fuzzing"))]
// The fuzz targets need a part of it.
#[cfg_attr(not(feature = "client"), allow(dead_code, unused_imports))]
mod wire;

pub use certs_d::{CertificateError, HostCertificates};
#[cfg(feature = "client")]
pub use client::RegistryClient;
pub use conf_error::ConfError;
pub use credentials::{CredentialSearch, Credentials, CredentialsError};
pub use digest::{DigestError, RegistryDigest};
#[cfg(feature = "client")]
pub use error::{Error, ErrorKind, Refusal};
pub use locations::{AuthFile, Locations};
#[cfg(feature = "client")]
pub use options::{ClientOptions, Proxies, TlsVerify};
pub use policy::{PolicyDemand, PolicyError, PolicyVerdict, SignaturePolicy};
#[cfg(feature = "client")]
pub use progress::{NoTransferProgress, TransferProgress};
#[cfg(feature = "client")]
pub use pull::PullSource;
pub use reference::{Reference, ReferenceError};
pub use registries_conf::{Endpoint, EndpointError, RegistriesConf, ShortNameError};
#[cfg(feature = "client")]
pub use repository::{BlobReader, BlobSource, Mount, RangesAnswer, Referrer, RemoteManifest, RemoteRepository};
#[cfg(feature = "client")]
pub use retry::RetryPolicy;
pub use ssh::{SshOptions, SshStore, serve};
#[cfg(feature = "client")]
pub use stores::{RegistryStore, S3Environment, S3Store, WebStore, server_name};
#[cfg(any(feature = "client", feature = "fuzzing"))]
pub use wire::ManifestKind;
