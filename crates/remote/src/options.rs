//! Options of the client.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::locations::Locations;
use crate::retry::RetryPolicy;

/// Options of a [`RegistryClient`](crate::RegistryClient). The default verifies all certificates, uses no proxy, and
/// finds neither credentials nor certificates of the user, as it knows no [`Locations`].
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Places of auth files, certificates and helpers.
    pub locations: Locations,
    /// Value of the header `User-Agent`.
    pub user_agent: String,
    /// Proxies of the environment.
    pub proxies: Proxies,
    /// Path of a file with certificates of authorities in PEM form, the value of `SSL_CERT_FILE`. It replaces those of
    /// the system.
    pub authority_file: Option<PathBuf>,
    /// Hosts whose certificates are not verified.
    pub tls_verify: TlsVerify,
    /// When failed requests are repeated.
    pub retry: RetryPolicy,
    /// Time limit for a connection.
    pub connect_time: Duration,
    /// Time limit without any byte from the server, and in which at least 16 KiB of a body that has not ended must
    /// arrive.
    pub idle_time: Duration,
    /// Size of the pieces of an upload in bytes, each of which is in memory.
    pub upload_piece: usize,
    /// Once another thread sets it, requests end soon and are not repeated.
    pub interrupt: Option<Arc<AtomicBool>>,
}

impl ClientOptions {
    /// Reports whether requests should end.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            locations: Locations::default(),
            user_agent: concat!("composefs/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxies: Proxies::default(),
            authority_file: None,
            tls_verify: TlsVerify::Verify,
            retry: RetryPolicy::default(),
            connect_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(60),
            upload_piece: 8 << 20,
            interrupt: None,
        }
    }
}

/// Proxies, by the values of the usual environment variables. Loopback addresses are never reached by a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Value of `HTTPS_PROXY`: URL of the proxy for `https`.
    pub https: Option<String>,
    /// Value of `HTTP_PROXY`: URL of the proxy for `http`.
    pub http: Option<String>,
    /// Value of `NO_PROXY`: hosts, domains and networks without a proxy, separated by commas.
    pub no_proxy: Option<String>,
}

/// How certificates are verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TlsVerify {
    /// All certificates are verified, except for registries that registries.conf calls insecure.
    #[default]
    Verify,
    /// These hosts, with their ports if they have one, may use plain HTTP or a certificate that cannot be verified.
    InsecureHosts(Vec<String>),
}

impl TlsVerify {
    /// Reports whether a host may be insecure.
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        matches!(self, Self::InsecureHosts(hosts) if hosts.iter().any(|known| known == host))
    }
}
