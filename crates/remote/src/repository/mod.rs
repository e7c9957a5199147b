//! A repository of a registry: its manifests, blobs and tags.

mod blob;
mod listing;
mod manifest;
mod ranges;
mod referrers;
mod upload;
mod wanted;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};

pub use blob::BlobReader;
pub use manifest::RemoteManifest;
pub use ranges::RangesAnswer;
pub use referrers::Referrer;
pub use upload::{BlobSource, Mount};

use crate::error::Subject;
use crate::exchange::{Call, CallTarget, Exchange};
use crate::registries_conf::Endpoint;

/// Repository of a registry. Clones share the connections, and may be used from several threads at the same time.
#[derive(Clone, Debug)]
pub struct RemoteRepository {
    exchange: Arc<Exchange>,
    endpoint: Endpoint,
    base: Url,
    is_insecure: bool,
    /// Whether the registry has answered a request for several ranges with one.
    is_single_range: Arc<AtomicBool>,
}

/// The rights that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Pull,
    Push,
}

impl RemoteRepository {
    pub(crate) fn new(exchange: Arc<Exchange>, endpoint: Endpoint, base: Url, is_insecure: bool) -> Self {
        Self { exchange, endpoint, base, is_insecure, is_single_range: Arc::default() }
    }

    /// Returns the endpoint of the repository.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Makes a request for a path below that of the repository.
    fn call(&self, access: Access, method: Method, path: &str, action: &'static str, identifier: &str) -> Call {
        let mut url = self.base.clone();
        url.set_path(&format!("/v2/{}/{path}", self.endpoint.path));
        let actions = if access == Access::Push { "pull,push" } else { "pull" };
        Call {
            subject: self.subject(action, identifier),
            target: CallTarget {
                host: self.endpoint.host.clone(),
                path: self.endpoint.path.clone(),
                base: self.base.clone(),
                scopes: vec![format!("repository:{}:{actions}", self.endpoint.path)],
                is_insecure: self.is_insecure,
            },
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    fn subject(&self, action: &'static str, identifier: &str) -> Subject {
        let (host, repository) = (self.endpoint.host.clone(), self.endpoint.path.clone());
        Subject { action, identifier: identifier.to_owned(), host, repository }
    }
}
