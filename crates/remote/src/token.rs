//! Requests for tokens, and the answers of authorization servers.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;

use crate::credentials::Credentials;
use crate::transport::HttpRequest;

/// Name of this program for authorization servers that want one.
const CLIENT_ID: &str = "composefs";
/// Validity of a token whose answer has none, and the least that is believed; both by the specification.
const DEFAULT_VALIDITY: Duration = Duration::from_secs(60);
/// A token that ends within this time is not used any more.
const RESERVE: Duration = Duration::from_secs(10);

/// A token with its end.
#[derive(Clone)]
pub(crate) struct Token {
    header: HeaderValue,
    end: Instant,
}

/// What a token is wanted for.
#[derive(Clone, Debug)]
pub(crate) struct TokenRequest<'a> {
    pub(crate) realm: &'a Url,
    pub(crate) service: Option<&'a str>,
    pub(crate) scopes: &'a [String],
    pub(crate) credentials: Option<&'a Credentials>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl TokenRequest<'_> {
    /// Makes the request: a form with an identity token, otherwise a query with or without a password.
    pub(crate) fn to_http(&self) -> HttpRequest {
        let mut url = self.realm.clone();
        let mut headers = HeaderMap::new();
        let mut parameters: Vec<(&str, &str)> = Vec::new();
        parameters.extend(self.service.map(|service| ("service", service)));
        if let Some(Credentials::IdentityToken(token)) = self.credentials {
            // The form has one scope, with blanks in it.
            let scope = self.scopes.join(" ");
            let grant = [("grant_type", "refresh_token"), ("client_id", CLIENT_ID), ("refresh_token", token)];
            parameters.extend(grant.into_iter().chain([("scope", scope.as_str())]));
            // The encoding of a query is that of a form.
            let mut form = url.clone();
            form.query_pairs_mut().clear().extend_pairs(&parameters);
            let body = Bytes::from(form.query().unwrap_or_default().to_owned());
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            return HttpRequest { method: Method::POST, url, headers, body };
        }
        parameters.extend(self.scopes.iter().map(|scope| ("scope", scope.as_str())));
        if let Some(Credentials::Basic { user, password }) = self.credentials {
            parameters.push(("account", user));
            headers.extend(basic(user, password).map(|value| (AUTHORIZATION, value)));
        }
        url.query_pairs_mut().extend_pairs(&parameters);
        HttpRequest { method: Method::GET, url, headers, body: Bytes::new() }
    }
}

/// Returns the header `Authorization` for a user with a password.
pub(crate) fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A header value that is not printed.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Token {
    /// Parses the answer of an authorization server.
    pub(crate) fn parse(answer: &[u8], now: Instant) -> Result<Self, String> {
        let answer: TokenAnswer = serde_json::from_slice(answer)
            .map_err(|_| "the token server's answer is not JSON with a token".to_owned())?;
        let is_given = |token: &String| !token.is_empty();
        let token = answer.token.filter(is_given).or(answer.access_token.filter(is_given));
        let token = token.ok_or("the token server's answer has no token")?;
        let validity = answer.expires_in.map_or(DEFAULT_VALIDITY, Duration::from_secs).max(DEFAULT_VALIDITY);
        let header = secret(&format!("Bearer {token}")).ok_or("the token has characters that a header cannot have")?;
        // Far enough for every transfer; the sum cannot overflow.
        Ok(Self { header, end: now + validity.min(Duration::from_secs(86_400)) - RESERVE })
    }

    /// Returns the header `Authorization`; `None` if the token has ended.
    pub(crate) fn header(&self, now: Instant) -> Option<HeaderValue> {
        (now < self.end).then(|| self.header.clone())
    }
}

impl std::fmt::Debug for Token {
    /// Prints no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(credentials: Option<&Credentials>) -> HttpRequest {
        let realm = Url::parse("https://auth.x/token?a=b").expect("a URL");
        let scopes = ["repository:r:pull".to_owned(), "repository:s:pull,push".to_owned()];
        TokenRequest { realm: &realm, service: Some("s v"), scopes: &scopes, credentials }.to_http()
    }

    #[test]
    fn requests_by_credentials() {
        let scopes = "scope=repository%3Ar%3Apull&scope=repository%3As%3Apull%2Cpush";
        let anonymous = request(None);
        assert_eq!(anonymous.url.as_str(), format!("https://auth.x/token?a=b&service=s+v&{scopes}"));
        assert!(anonymous.headers.is_empty() && anonymous.method == Method::GET);
        let with_password = request(Some(&Credentials::Basic { user: "u".to_owned(), password: "p".to_owned() }));
        assert!(with_password.url.as_str().ends_with("&account=u"));
        assert_eq!(with_password.headers[AUTHORIZATION], "Basic dTpw");
        assert!(with_password.headers[AUTHORIZATION].is_sensitive());
        let with_token = request(Some(&Credentials::IdentityToken("t".to_owned())));
        assert_eq!((with_token.url.as_str(), with_token.method), ("https://auth.x/token?a=b", Method::POST));
        let form = "service=s+v&grant_type=refresh_token&client_id=composefs&refresh_token=t&\
                    scope=repository%3Ar%3Apull+repository%3As%3Apull%2Cpush";
        assert_eq!(with_token.body, form);
    }

    #[test]
    fn answers() {
        let now = Instant::now();
        let at = |token: &Token, seconds| token.header(now + Duration::from_secs(seconds));
        let token = Token::parse(br#"{"access_token": "a", "expires_in": 300}"#, now).expect("a token");
        assert_eq!(at(&token, 289).expect("it is valid"), "Bearer a");
        assert_eq!(at(&token, 290), None);
        let short = Token::parse(br#"{"token": "a", "access_token": "b", "expires_in": 1}"#, now).expect("a token");
        assert_eq!(at(&short, 49).expect("it is valid"), "Bearer a");
        let long = Token::parse(br#"{"token": "a", "expires_in": 18446744073709551615}"#, now).expect("a token");
        assert!(at(&long, 80_000).is_some() && at(&long, 90_000).is_none());
        for bad in [&b"{}"[..], b"", b"{\"token\": \"\"}", b"{\"token\": \"a\\n\"}", b"{\"token\": 1}"] {
            assert!(Token::parse(bad, now).is_err());
        }
    }
}
