//! Images in registries as a source: the client with the settings of the environment and of the command line.

use std::env;
use std::io::Read;
use std::path::PathBuf;

use libcomposefs_oci::BlobDigest;
use libcomposefs_oci::manifest::BlobRef;
use libcomposefs_oci::source::{BlobParts, ImageSource, RootDocument, SourceError};
use libcomposefs_remote::{
    ClientOptions, Locations, Proxies, PullSource, Reference, RegistriesConf, RegistryClient, RegistryDigest,
    TlsVerify, credentials,
};

use super::locations::locations;
use super::registry_parts::RegistryParts;
use super::signed_source::TagFinder;

/// Options for registries.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct RegistryArgs {
    /// File with credentials, in the form of podman's auth.json [default: the files of podman and docker]
    #[arg(long, value_name = "FILE", help_heading = "Registries")]
    pub(super) authfile: Option<PathBuf>,
    /// With `false`, the registry of the image may use plain HTTP or a certificate that cannot be verified; one on a
    /// loopback address may use plain HTTP in any case
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        help_heading = "Registries"
    )]
    tls_verify: bool,
}

impl Default for RegistryArgs {
    fn default() -> Self {
        Self { authfile: None, tls_verify: true }
    }
}

/// An image in a registry.
#[derive(Debug)]
pub(super) struct RegistryImage {
    described: String,
    source: PullSource,
}

impl RegistryImage {
    /// Returns a finder of the tags of the repository that the image is read from, which may be a mirror.
    pub(super) fn tag_finder(&self) -> TagFinder {
        let repository = self.source.repository.clone();
        let described = self.described.clone();
        Box::new(move |tag| match repository.manifest(tag) {
            Ok(manifest) => {
                let source = PullSource { repository: repository.clone(), manifest };
                Ok(Some(Box::new(RegistryImage { described: format!("the tag {tag} of {described}"), source })))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(other(error)),
        })
    }
}

/// Finds an image in a registry or its mirrors. The caller has asked the signature policy.
pub(super) fn open(reference: &Reference, args: &RegistryArgs) -> anyhow::Result<RegistryImage> {
    let locations = locations(args.authfile.clone());
    credentials::check_named_file(&locations, reference.host(), reference.path())?;
    let conf = RegistriesConf::load(&locations)?;
    let client = RegistryClient::new(options(locations, args, reference))?;
    let source = client.pull_source(reference, &conf)?;
    Ok(RegistryImage { described: format!("docker://{reference}"), source })
}

pub(super) fn options(locations: Locations, args: &RegistryArgs, reference: &Reference) -> ClientOptions {
    let tls_verify =
        if args.tls_verify { TlsVerify::Verify } else { TlsVerify::InsecureHosts(vec![reference.host().to_owned()]) };
    ClientOptions { locations, tls_verify, ..environment_options() }
}

/// Returns the options that the environment gives.
pub(crate) fn environment_options() -> ClientOptions {
    // Programs read the names in capitals, and curl those in small letters too.
    let either = |name: &str| env::var(name).or_else(|_| env::var(name.to_lowercase())).ok();
    let all = either("ALL_PROXY");
    ClientOptions {
        locations: locations(None),
        proxies: Proxies {
            https: either("HTTPS_PROXY").or_else(|| all.clone()),
            http: either("HTTP_PROXY").or(all),
            no_proxy: either("NO_PROXY"),
        },
        authority_file: env::var_os("SSL_CERT_FILE").map(PathBuf::from),
        interrupt: crate::interrupt::flag_of_command(),
        ..ClientOptions::default()
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> SourceError {
    SourceError::Other(Box::new(error))
}

fn digest(blob: &BlobDigest) -> Result<RegistryDigest, SourceError> {
    blob.to_string().parse().map_err(other)
}

impl ImageSource for RegistryImage {
    fn describe(&self) -> String {
        self.described.clone()
    }

    fn root(&self) -> Result<RootDocument, SourceError> {
        let manifest = &self.source.manifest;
        let digest = manifest.digest.as_str().parse().map_err(other)?;
        let media_type = Some(manifest.kind.media_type().to_owned());
        Ok(RootDocument { raw: manifest.bytes.clone(), media_type, digest: Some(digest) })
    }

    fn manifest(&self, blob: &BlobRef) -> Result<Vec<u8>, SourceError> {
        let manifest = self.source.repository.manifest(digest(&blob.digest)?.as_str()).map_err(other)?;
        Ok(manifest.bytes)
    }

    fn blob(&self, blob: &BlobRef) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        self.blob_from(blob, 0)
    }

    fn blob_from(&self, blob: &BlobRef, offset: u64) -> Result<Box<dyn Read + Send + '_>, SourceError> {
        let reader = self.source.repository.blob(&digest(&blob.digest)?, blob.size, offset).map_err(other)?;
        // The pull computes the digest too.
        Ok(Box::new(reader.unverified()))
    }

    fn parts(&self, blob: &BlobRef) -> Option<Box<dyn BlobParts + '_>> {
        let parts = RegistryParts::new(self.source.repository.clone(), digest(&blob.digest).ok()?, blob.size);
        Some(Box::new(parts))
    }

    fn is_remote(&self) -> bool {
        true
    }
}
