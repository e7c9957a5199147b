//! Requests to servers that are no registries: without challenges, each sent once.

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::{Attempt, Exchange, is_same_origin, redirect};
use crate::error::ErrorKind;
use crate::transport::HttpRequest;

/// A server that is no registry.
#[derive(Clone, Debug)]
pub(crate) struct ServerTarget {
    /// A URL of the server. Only requests to its origin are authorized.
    pub(crate) base: Url,
    /// Value of `Authorization`, if the requests have one.
    pub(crate) authorization: Option<HeaderValue>,
    /// Whether the host is insecure.
    pub(crate) is_insecure: bool,
}

impl Exchange {
    /// Sends a request once. A redirect to another origin is followed without the credentials. Failures after which a
    /// retry may help are a value.
    pub(crate) fn ask(&self, target: &ServerTarget, mut request: HttpRequest) -> Result<Attempt, ErrorKind> {
        let is_of_target = is_same_origin(&request.url, &target.base);
        if is_of_target {
            request.headers.extend(target.authorization.clone().map(|value| (AUTHORIZATION, value)));
        }
        let is_insecure = is_of_target && target.is_insecure;
        self.sort(redirect::send(&self.hosts, request, is_insecure).map(|followed| followed.answer))
    }
}
