//! HTTP requests behind a blocking face: the one place with asynchronous code.
//!
//! A small runtime drives the connections. A caller's thread waits in [`Transport::send`] for the head of the answer,
//! and in [`AnswerBody::chunk`] for each piece of the body, so that a body is read no faster than it is used.

mod failure;
mod least_rate;
mod pinned;
mod runtime;
mod tls;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName};
use reqwest::{Method, NoProxy, Proxy, StatusCode, Url};

pub(crate) use failure::{FailureKind, HttpFailure};
use least_rate::LeastRate;
use runtime::Runtime;
pub(crate) use tls::TlsMaterial;

use crate::error::ErrorKind;
use crate::options::ClientOptions;

/// Connections to one host that are kept for later requests: as many as an operation has threads.
const MOST_IDLE: usize = 32;

/// The runtime, from which the clients of single hosts are made.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    runtime: Arc<Runtime>,
}

/// A client for one host, with its connections.
#[derive(Clone, Debug)]
pub(crate) struct HostClient {
    runtime: Arc<Runtime>,
    http: reqwest::Client,
    idle_time: Duration,
    interrupt: Option<Arc<AtomicBool>>,
}

/// A request with a body in memory.
#[derive(Clone, Debug)]
pub(crate) struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// The head of an answer and its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: AnswerBody,
}

/// The body of an answer, as it arrives.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    runtime: Arc<Runtime>,
    response: reqwest::Response,
    idle_time: Duration,
    rate: LeastRate,
    interrupt: Option<Arc<AtomicBool>>,
}

impl Transport {
    /// Starts the runtime.
    pub(crate) fn new() -> Result<Self, ErrorKind> {
        let runtime = Runtime::new().map_err(|error| ErrorKind::Invalid(format!("cannot start threads: {error}")))?;
        Ok(Self { runtime: Arc::new(runtime) })
    }

    /// Makes the client of a host. `is_local` keeps it from using a proxy.
    pub(crate) fn client(
        &self,
        options: &ClientOptions,
        tls: &TlsMaterial,
        is_local: bool,
    ) -> Result<HostClient, ErrorKind> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.config()?)
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .user_agent(&options.user_agent)
            .connect_timeout(options.connect_time)
            .tcp_keepalive(Duration::from_secs(30))
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(MOST_IDLE);
        if !is_local {
            for proxy in proxies(options)? {
                builder = builder.proxy(proxy);
            }
        }
        let http = self.runtime.enter(|| builder.build());
        let http =
            http.map_err(|error| ErrorKind::Invalid(format!("cannot use the options: {}", HttpFailure::of(&error))))?;
        Ok(HostClient {
            runtime: Arc::clone(&self.runtime),
            http,
            idle_time: options.idle_time,
            interrupt: options.interrupt.clone(),
        })
    }
}

fn proxies(options: &ClientOptions) -> Result<Vec<Proxy>, ErrorKind> {
    let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
    let no_proxy = given(&options.proxies.no_proxy);
    // The library compares `*` with names, but not with addresses.
    if no_proxy.as_ref().is_some_and(|list| list.split(',').any(|one| one.trim() == "*")) {
        return Ok(Vec::new());
    }
    let no_proxy = no_proxy.and_then(|list| NoProxy::from_string(&list));
    let https = given(&options.proxies.https).map(Proxy::https);
    let http = given(&options.proxies.http).map(Proxy::http);
    let with_exceptions = |proxy: Result<Proxy, reqwest::Error>| match proxy {
        Ok(proxy) => Ok(proxy.no_proxy(no_proxy.clone())),
        Err(error) => Err(ErrorKind::Invalid(format!("the URL of a proxy is not valid: {}", HttpFailure::of(&error)))),
    };
    https.into_iter().chain(http).map(with_exceptions).collect()
}

impl HostClient {
    /// Sends a request and waits for the head of the answer. Redirects are not followed.
    pub(crate) fn send(&self, request: HttpRequest) -> Result<Answer, HttpFailure> {
        // The server is silent as long as it receives the body: at least 16 KiB a second are expected of the network.
        let limit = self.idle_time + Duration::from_secs(request.body.len() as u64 >> 14);
        let HttpRequest { method, url, headers, body } = request;
        let mut builder = self.http.request(method.clone(), url).headers(headers);
        if !body.is_empty() {
            builder = builder.body(body);
        } else if [Method::POST, Method::PUT, Method::PATCH].contains(&method) {
            builder = builder.header(CONTENT_LENGTH, 0);
        }
        let response = self.runtime.wait(limit, self.interrupt.as_deref(), builder.send());
        let response = response
            .ok_or_else(|| HttpFailure::unanswered(self.interrupt.as_deref(), limit))?
            .map_err(|error| HttpFailure::of(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = AnswerBody {
            runtime: Arc::clone(&self.runtime),
            response,
            idle_time: self.idle_time,
            rate: LeastRate::new(self.idle_time),
            interrupt: self.interrupt.clone(),
        };
        Ok(Answer { status, headers, body })
    }
}

impl Answer {
    /// Returns a header as text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl AnswerBody {
    /// Returns the length that the header announces.
    pub(crate) fn announced(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// Waits for the next piece; `None` at the end. A body that ends early fails, and one whose server stalls.
    pub(crate) fn chunk(&mut self) -> Result<Option<Bytes>, HttpFailure> {
        let start = Instant::now();
        let chunk = self.runtime.wait(self.idle_time, self.interrupt.as_deref(), self.response.chunk());
        let chunk = chunk
            .ok_or_else(|| HttpFailure::unanswered(self.interrupt.as_deref(), self.idle_time))?
            .map_err(|error| HttpFailure::of(&error))?;
        if let Some(bytes) = &chunk {
            self.rate.count(start.elapsed(), bytes.len()).map_err(HttpFailure::transfer)?;
        }
        Ok(chunk)
    }
}
