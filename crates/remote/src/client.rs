//! The client: connections, credentials and tokens that all repositories share.

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Subject};
use crate::exchange::Exchange;
use crate::options::ClientOptions;
use crate::progress::{NoTransferProgress, TransferProgress};
use crate::registries_conf::Endpoint;
use crate::repository::RemoteRepository;

/// Client of registries. Clones share everything, and may be used from several threads at the same time.
///
/// All methods block the calling thread, which must not belong to an asynchronous runtime.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    exchange: Arc<Exchange>,
}

impl RegistryClient {
    /// Makes a client. No request is sent.
    ///
    /// # Errors
    ///
    /// If the threads cannot be started.
    pub fn new(options: ClientOptions) -> Result<Self, ErrorKind> {
        Self::with_progress(options, Arc::new(NoTransferProgress))
    }

    /// Makes a client that reports its transfers.
    ///
    /// # Errors
    ///
    /// If the threads cannot be started.
    pub fn with_progress(options: ClientOptions, progress: Arc<dyn TransferProgress>) -> Result<Self, ErrorKind> {
        Ok(Self { exchange: Arc::new(Exchange::new(options, progress)?) })
    }

    /// Returns the repository at an endpoint. A request is sent only if the host may use plain HTTP.
    ///
    /// # Errors
    ///
    /// If the host or the certificates for it are not valid.
    pub fn repository(&self, endpoint: &Endpoint) -> Result<RemoteRepository, Error> {
        let (host, repository) = (endpoint.host.clone(), endpoint.path.clone());
        let subject = Subject { action: "open the repository", identifier: String::new(), host, repository };
        let is_insecure = endpoint.is_insecure || self.exchange.is_insecure(&endpoint.host);
        let base = self.exchange.base(endpoint.server(), is_insecure).map_err(|kind| Error::new(&subject, kind))?;
        Ok(RemoteRepository::new(Arc::clone(&self.exchange), endpoint.clone(), base, is_insecure))
    }

    pub(crate) fn progress(&self) -> &dyn TransferProgress {
        self.exchange.progress()
    }
}
