//! Answers the challenges of registries, and keeps tokens until they end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use libcomposefs_content::mutex::lock;
use reqwest::Url;
use reqwest::header::HeaderValue;

use super::hosts::{Hosts, Trouble, server};
use super::{redirect, refusal};

use crate::credentials::{self, CredentialSearch, Credentials};
use crate::error::ErrorKind;
use crate::printable::printable;
use crate::token::{Token, TokenRequest, basic};
use crate::transport::HttpFailure;
use crate::wire::Challenge;

/// The longest answer of an authorization server.
const LONGEST_ANSWER: u64 = 1 << 20;

/// The repository of a request, and what is done with it.
#[derive(Clone, Debug)]
pub(crate) struct CallTarget {
    /// Host as in a reference, for which credentials are looked up.
    pub(crate) host: String,
    /// Path of the repository.
    pub(crate) path: String,
    /// Root URL of the server.
    pub(crate) base: Url,
    /// Scopes of the token, such as `repository:PATH:pull`.
    pub(crate) scopes: Vec<String>,
    /// Whether the host is insecure.
    pub(crate) is_insecure: bool,
}

type TokenKey = (String, Vec<String>);

/// Credentials, challenges and tokens of all hosts.
#[derive(Debug, Default)]
pub(crate) struct Authorizer {
    searches: Mutex<HashMap<(String, String), Arc<CredentialSearch>>>,
    challenges: Mutex<HashMap<String, Challenge>>,
    tokens: Mutex<HashMap<TokenKey, Arc<Mutex<Option<Token>>>>>,
}

impl Authorizer {
    /// Returns the header for a server whose challenge is known, so that it need not refuse a request first.
    pub(crate) fn known(&self, hosts: &Hosts, target: &CallTarget) -> Result<Option<HeaderValue>, Trouble> {
        let challenge = lock(&self.challenges).get(target.base.as_str()).cloned();
        challenge.map_or(Ok(None), |challenge| self.header(hosts, target, &challenge))
    }

    /// Returns the header that answers a challenge. `refused` is the header that the server did not accept.
    pub(crate) fn answer(
        &self,
        hosts: &Hosts,
        target: &CallTarget,
        challenge: Challenge,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Trouble> {
        if let Some(refused) = refused {
            let slot = self.slot(target);
            let mut token = lock(&slot);
            // Another thread may have replaced the token.
            if token.as_ref().is_some_and(|token| token.header(Instant::now()).as_ref() == Some(refused)) {
                *token = None;
            }
        }
        lock(&self.challenges).insert(target.base.to_string(), challenge.clone());
        self.header(hosts, target, &challenge)
    }

    /// Returns the result of the search for credentials, which is done once.
    pub(crate) fn search(&self, hosts: &Hosts, target: &CallTarget) -> Result<Arc<CredentialSearch>, ErrorKind> {
        let key = (target.host.clone(), target.path.clone());
        if let Some(found) = lock(&self.searches).get(&key) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(credentials::find(&hosts.options().locations, &target.host, &target.path)?);
        Ok(Arc::clone(lock(&self.searches).entry(key).or_insert(found)))
    }

    fn header(
        &self,
        hosts: &Hosts,
        target: &CallTarget,
        challenge: &Challenge,
    ) -> Result<Option<HeaderValue>, Trouble> {
        let search = self.search(hosts, target)?;
        let credentials = search.credentials.as_ref();
        let Challenge::Bearer { realm, service, scope } = challenge else {
            let Some(Credentials::Basic { user, password }) = credentials else { return Ok(None) };
            return Ok(basic(user, password));
        };
        let slot = self.slot(target);
        // The lock is held during the request, so that threads that need the same token ask once.
        let mut token = lock(&slot);
        if let Some(header) = token.as_ref().and_then(|token| token.header(Instant::now())) {
            return Ok(Some(header));
        }
        let mut scopes = target.scopes.clone();
        // A server that wants a scope of another kind says so in the challenge.
        let is_ours = |scope: &str| scope.starts_with(&format!("repository:{}:", target.path));
        scopes.extend(scope.clone().filter(|scope| scopes.is_empty() || !scope.split(' ').all(is_ours)));
        scopes.dedup();
        let realm = realm_url(realm, &target.base)?;
        let request = TokenRequest { realm: &realm, service: service.as_deref(), scopes: &scopes, credentials };
        let new = fetch(hosts, target, &request, &search)?;
        let header = new.header(Instant::now());
        *token = Some(new);
        Ok(header)
    }

    fn slot(&self, target: &CallTarget) -> Arc<Mutex<Option<Token>>> {
        let key = (target.base.to_string(), target.scopes.clone());
        Arc::clone(lock(&self.tokens).entry(key).or_default())
    }
}

/// Returns the URL of the authorization server. Credentials go there, so it needs TLS if the registry has it.
fn realm_url(realm: &str, base: &Url) -> Result<Url, ErrorKind> {
    let url = Url::parse(realm).map_err(|error| {
        let reason = format!("the realm {:?} of its challenge is no URL: {error}", printable(realm, 200));
        ErrorKind::Protocol { reason }
    })?;
    redirect::resolve(base, url.as_str())
}

/// Asks an authorization server for a token.
fn fetch(
    hosts: &Hosts,
    target: &CallTarget,
    request: &TokenRequest<'_>,
    search: &CredentialSearch,
) -> Result<Token, Trouble> {
    let is_of_registry = redirect::is_same_origin(request.realm, &target.base);
    let realm_server = server(request.realm).unwrap_or_default();
    let is_insecure = if is_of_registry { target.is_insecure } else { hosts.is_insecure(&realm_server) };
    let answer = redirect::send(hosts, request.to_http(), is_insecure)?.answer;
    let status = answer.status;
    if status.is_success() {
        let text = refusal::read_limited(answer.body, LONGEST_ANSWER)?;
        return Token::parse(&text, Instant::now()).map_err(|reason| ErrorKind::Protocol { reason }.into());
    }
    let refusal = refusal::of(answer);
    if refusal::is_transient(status) {
        return Err(Trouble::HttpFailure(HttpFailure::transfer(format!(
            "the token server {realm_server} answers {refusal}"
        ))));
    }
    let had_credentials = search.credentials.is_some();
    Err(Trouble::Final(match status.as_u16() {
        400..=403 => {
            let (server, searched) = (target.host.clone(), search.searched.clone());
            ErrorKind::Unauthorized { server, had_credentials, searched, refusal }
        }
        _ => ErrorKind::Status(refusal),
    }))
}
