//! Client of OCI registries: references, credentials, mirrors, policies, and transfers of manifests and blobs.
//!
//! The crate reads no environment: [`Locations`] has the values that decide where configuration files are.

pub mod certs_d;
pub mod credentials;
mod digest;
mod locations;
pub mod policy;
pub mod reference;
pub mod registries_conf;
mod text_file;

pub use certs_d::{CertificateError, HostCertificates};
pub use credentials::{CredentialSearch, Credentials, CredentialsError};
pub use digest::{DigestError, RegistryDigest};
pub use locations::{AuthFile, Locations};
pub use policy::{PolicyError, PolicyVerdict, SignaturePolicy};
pub use reference::{Reference, ReferenceError};
pub use registries_conf::{Endpoint, EndpointError, RegistriesConf, RegistriesConfError, ShortNameError};
