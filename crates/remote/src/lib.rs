//! Client of OCI registries: references, credentials, mirrors, policies, and transfers of manifests and blobs.
//!
//! The crate reads no environment: [`Locations`] has the values that decide where configuration files are.

pub mod credentials;
mod digest;
mod locations;
pub mod reference;

pub use credentials::{CredentialSearch, Credentials, CredentialsError};
pub use digest::{DigestError, RegistryDigest};
pub use locations::{AuthFile, Locations};
pub use reference::{Reference, ReferenceError};
