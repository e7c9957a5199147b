//! Follows redirects without giving credentials to another host.

use reqwest::header::{AUTHORIZATION, LOCATION};
use reqwest::{Method, Url};

use super::hosts::{Hosts, Trouble, server};
use crate::error::ErrorKind;
use crate::printable::printable;
use crate::transport::{Answer, HttpRequest};

/// The most redirects of one request.
const MOST: usize = 10;

/// The answer at the end of the redirects.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) answer: Answer,
    /// Whether the answer is of the server that was asked, so that its challenge may be answered.
    pub(crate) is_of_origin: bool,
}

/// Sends a request. For GET and HEAD, redirects are followed.
pub(crate) fn send(hosts: &Hosts, mut request: HttpRequest, is_insecure: bool) -> Result<Followed, Trouble> {
    let origin = request.url.clone();
    let follows = [Method::GET, Method::HEAD].contains(&request.method);
    let mut is_of_origin = true;
    for _ in 0..=MOST {
        let server = server(&request.url).unwrap_or_default();
        let answer =
            hosts.send(request.clone(), if is_of_origin { is_insecure } else { hosts.is_insecure(&server) })?;
        if !follows || !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(Followed { answer, is_of_origin });
        }
        let target = answer.header(&LOCATION);
        let target = target.ok_or_else(|| ErrorKind::Protocol { reason: "a redirect has no Location".to_owned() })?;
        request.url = resolve(&request.url, target)?;
        if !is_same_origin(&origin, &request.url) {
            // Once left, the origin gets no credentials either: another host chose the URL.
            is_of_origin = false;
        }
        if !is_of_origin {
            request.headers.remove(AUTHORIZATION);
        }
    }
    Err(refused(&request.url, "there are more than 10 redirects").into())
}

/// Returns the URL of a `Location`, which may be relative.
pub(crate) fn resolve(base: &Url, location: &str) -> Result<Url, ErrorKind> {
    let target = base.join(location).map_err(|error| {
        let reason = format!("the Location {:?} is no URL: {error}", printable(location, 200));
        ErrorKind::Protocol { reason }
    })?;
    match (base.scheme(), target.scheme()) {
        _ if target.host_str().is_none() => Err(refused(&target, "it has no host")),
        (_, "https") | ("http", "http") => Ok(target),
        ("https", "http") => Err(refused(&target, "plain HTTP must not follow HTTPS")),
        _ => Err(refused(&target, "only https and http are followed")),
    }
}

/// Reports whether two URLs have the same scheme, host and port.
pub(crate) fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

fn refused(target: &Url, reason: &'static str) -> ErrorKind {
    // The query of a storage URL is a secret.
    let mut target = target.clone();
    target.set_query(None);
    let _ = (target.set_username(""), target.set_password(None));
    ErrorKind::Redirect { target: printable(target.as_str(), 200), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let base = Url::parse("https://a.x/v2/r").expect("a URL");
        let to = |location: &str| resolve(&base, location).map(|url| url.to_string());
        assert_eq!(to("/v2/s?_state=x").expect("relative"), "https://a.x/v2/s?_state=x");
        assert_eq!(to("https://b.x/c").expect("absolute"), "https://b.x/c");
        let message = to("http://u:p@b.x/c?secret").expect_err("plain").to_string();
        assert!(message.contains("http://b.x/c,") && message.contains("plain HTTP"), "{message}");
        assert!(to("file:///etc/passwd").is_err() && to("https://").is_err());
        assert!(resolve(&Url::parse("http://a.x/").expect("a URL"), "http://b.x/").is_ok());
    }

    #[test]
    fn origins() {
        let same = |one: &str, other: &str| {
            is_same_origin(&Url::parse(one).expect("a URL"), &Url::parse(other).expect("a URL"))
        };
        assert!(same("https://a.x/b", "https://A.x:443/c"));
        for other in ["http://a.x/", "https://a.x:444/", "https://b.x/", "https://a.x.y/"] {
            assert!(!same("https://a.x/", other), "{other}");
        }
    }
}
