//! Finds the endpoint that serves a reference: mirrors first, then the registry itself.

use std::time::Duration;

use crate::client::RegistryClient;
use crate::error::{Error, Subject};
use crate::reference::Reference;
use crate::registries_conf::{Endpoint, RegistriesConf};
use crate::repository::{RemoteManifest, RemoteRepository};

/// Repository that has a manifest, and the manifest.
#[derive(Clone, Debug)]
pub struct PullSource {
    /// Repository from which the rest of the image is read as well.
    pub repository: RemoteRepository,
    /// Manifest that the reference names.
    pub manifest: RemoteManifest,
}

impl RegistryClient {
    /// Reads the manifest of a reference from the first endpoint that has it.
    ///
    /// # Errors
    ///
    /// If the registry is blocked, or if no endpoint has the manifest: the error is that of the registry itself, which
    /// is asked last. Failures of mirrors are reported to the receiver of progress.
    pub fn pull_source(&self, reference: &Reference, conf: &RegistriesConf) -> Result<PullSource, Error> {
        let endpoints = conf.endpoints(reference).map_err(|error| {
            let (host, repository) = (reference.host().to_owned(), reference.path().to_owned());
            let identifier = reference.identifier().to_owned();
            Error::new(&Subject { action: "get the manifest", identifier, host, repository }, error)
        })?;
        let (mirrors, registry) = endpoints.split_at(endpoints.len().saturating_sub(1));
        for mirror in mirrors {
            match self.try_endpoint(mirror, reference) {
                Ok(source) => return Ok(source),
                Err(error) => self.progress().retrying(&error.to_string(), Duration::ZERO),
            }
        }
        self.try_endpoint(registry.first().unwrap_or(&Endpoint::of(reference)), reference)
    }

    fn try_endpoint(&self, endpoint: &Endpoint, reference: &Reference) -> Result<PullSource, Error> {
        let repository = self.repository(endpoint)?;
        let manifest = repository.manifest(reference.identifier())?;
        Ok(PullSource { repository, manifest })
    }
}
