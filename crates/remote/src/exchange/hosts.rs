//! Clients of hosts: their certificates, and whether they use TLS.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use libcomposefs_content::mutex::lock;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};

use crate::certs_d;
use crate::error::ErrorKind;
use crate::options::ClientOptions;
use crate::transport::{Answer, FailureKind, HostClient, HttpFailure, HttpRequest, TlsMaterial, Transport};

/// All hosts that were used so far.
#[derive(Debug)]
pub(crate) struct Hosts {
    options: ClientOptions,
    transport: Transport,
    /// By host and port, and by whether the host is insecure.
    known: Mutex<HashMap<(String, bool), Arc<KnownHost>>>,
}

#[derive(Debug)]
struct KnownHost {
    client: HostClient,
    /// `http` or `https`, once that is known.
    scheme: Mutex<Option<&'static str>>,
    has_answered: AtomicBool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The connection failed; a retry may help.
    HttpFailure(HttpFailure),
    /// No retry helps.
    Final(ErrorKind),
}

impl Trouble {
    /// Returns the reason.
    pub(crate) fn into_kind(self) -> ErrorKind {
        match self {
            Self::HttpFailure(failure) => ErrorKind::Transfer { retries: 0, reason: failure.to_string() },
            Self::Final(kind) => kind,
        }
    }
}

impl From<ErrorKind> for Trouble {
    fn from(kind: ErrorKind) -> Self {
        Self::Final(kind)
    }
}

impl Hosts {
    pub(crate) fn new(options: ClientOptions) -> Result<Self, ErrorKind> {
        Ok(Self { options, transport: Transport::new()?, known: Mutex::default() })
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Reports whether the options call a host insecure.
    pub(crate) fn is_insecure(&self, host: &str) -> bool {
        self.options.tls_verify.is_insecure(host)
    }

    /// Sends a request to the host of its URL.
    pub(crate) fn send(&self, request: HttpRequest, is_insecure: bool) -> Result<Answer, Trouble> {
        let server = server(&request.url).ok_or_else(|| ErrorKind::Invalid(format!("{} has no host", request.url)))?;
        let host = self.host(&server, is_insecure)?;
        match host.client.send(request) {
            Ok(answer) => {
                host.has_answered.store(true, Ordering::Relaxed);
                Ok(answer)
            }
            Err(failure) => Err(match failure.kind {
                FailureKind::Certificate => ErrorKind::Certificate { server, reason: failure.to_string() }.into(),
                FailureKind::Protocol => ErrorKind::Protocol { reason: failure.to_string() }.into(),
                FailureKind::NotTls => ErrorKind::NotTls { reason: failure.to_string() }.into(),
                // A host that never answered may not exist: the user should not wait for retries.
                FailureKind::Connect if !host.has_answered.load(Ordering::Relaxed) => {
                    ErrorKind::Connect { reason: failure.to_string() }.into()
                }
                FailureKind::Connect | FailureKind::Transfer => Trouble::HttpFailure(failure),
            }),
        }
    }

    /// Returns the URL of a server's root. Plain HTTP is for loopback addresses and insecure hosts without TLS.
    pub(crate) fn base(&self, server: &str, is_insecure: bool) -> Result<Url, ErrorKind> {
        let url = |scheme: &str| {
            let invalid = |error| ErrorKind::Invalid(format!("{server} is not valid as a host: {error}"));
            Url::parse(&format!("{scheme}://{server}/")).map_err(invalid)
        };
        let secure = url("https")?;
        if !is_insecure && !is_loopback(&secure) {
            return Ok(secure);
        }
        let host = self.host(server, is_insecure)?;
        let mut scheme = lock(&host.scheme);
        if scheme.is_none() {
            *scheme = host.probe(&secure, &url("http")?);
        }
        url(scheme.unwrap_or("https"))
    }

    fn host(&self, server: &str, is_insecure: bool) -> Result<Arc<KnownHost>, ErrorKind> {
        let key = (server.to_owned(), is_insecure);
        if let Some(host) = lock(&self.known).get(&key) {
            return Ok(Arc::clone(host));
        }
        let certificates = certs_d::find(&self.options.locations.certificate_dirs(), server)?;
        let tls = TlsMaterial::load(&self.options, &certificates, !is_insecure)?;
        let is_local = Url::parse(&format!("http://{server}/")).is_ok_and(|url| is_loopback(&url));
        let client = self.transport.client(&self.options, &tls, is_local)?;
        let host = KnownHost { client, scheme: Mutex::default(), has_answered: AtomicBool::new(false) };
        // Another thread may have been faster; its connections are used then.
        Ok(Arc::clone(lock(&self.known).entry(key).or_insert_with(|| Arc::new(host))))
    }
}

impl KnownHost {
    /// Finds out whether the server has TLS; `None` if it does not answer at all.
    fn probe(&self, secure: &Url, plain: &Url) -> Option<&'static str> {
        let ask = |base: &Url| {
            let mut url = base.clone();
            url.set_path("/v2/");
            self.client.send(HttpRequest { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() })
        };
        match ask(secure) {
            Ok(_) => Some("https"),
            Err(failure) if failure.kind == FailureKind::Certificate => Some("https"),
            Err(_) => ask(plain).is_ok().then_some("http"),
        }
    }
}

/// Returns the host of a URL, and its port unless it is the scheme's.
pub(crate) fn server(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or(host.to_owned(), |port| format!("{host}:{port}")))
}

/// Reports whether the host of a URL is a loopback address.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts() {
        let is = |host: &str| is_loopback(&Url::parse(&format!("http://{host}/")).expect("a URL"));
        assert!(is("localhost:5000") && is("127.0.0.1") && is("127.3.4.5:1") && is("[::1]:5"));
        assert!(!is("localhost.x") && !is("10.0.0.1") && !is("[::2]") && !is("127.0.0.1.x"));
    }

    #[test]
    fn servers_have_their_port() {
        let of = |url: &str| server(&Url::parse(url).expect("a URL"));
        assert_eq!(of("https://a.x:443/").as_deref(), Some("a.x"));
        assert_eq!(of("https://a.x:5000/b").as_deref(), Some("a.x:5000"));
        assert_eq!(of("https://[::1]:5000/b").as_deref(), Some("[::1]:5000"));
    }
}
