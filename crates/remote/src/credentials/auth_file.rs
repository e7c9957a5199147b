//! Parses auth files: `auth.json` of podman, `config.json` and `.dockercfg` of docker.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::Credentials;
use crate::reference::DOCKER_HUB;

/// Contents of an auth file.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Auths {
    #[serde(default)]
    auths: BTreeMap<String, AuthValue>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

/// Credentials of one key. Entries of hosts whose credentials a helper has are empty.
#[derive(Deserialize)]
struct AuthValue {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl std::fmt::Debug for AuthValue {
    /// Prints no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthValue(..)")
    }
}

/// The entry of a file for a repository.
#[derive(Debug)]
pub(super) struct AuthEntry<'a> {
    /// Key of the entry, as it is in the file.
    pub(super) key: &'a str,
    /// Credentials, or the reason why they cannot be used.
    pub(super) credentials: Result<Credentials, &'static str>,
}

impl Auths {
    /// Parses a file. The reason of a failure has no part of the contents.
    pub(super) fn parse(text: &[u8], is_legacy: bool) -> Result<Self, String> {
        // The message of serde_json may quote a value.
        let reason = |error: serde_json::Error| {
            let what = if error.is_data() { "a value has a wrong type" } else { "it is not JSON" };
            format!("{what} (line {}, column {})", error.line(), error.column())
        };
        if is_legacy {
            let auths = serde_json::from_slice(text).map_err(reason)?;
            return Ok(Self { auths, ..Self::default() });
        }
        serde_json::from_slice(text).map_err(reason)
    }

    /// Returns the name of the helper for a host.
    pub(super) fn helper(&self, host: &str) -> Option<&str> {
        let exact = self.helpers.iter().find(|(key, _)| key.as_str() == host);
        let found = exact.or_else(|| self.helpers.iter().find(|(key, _)| host_of_key(key) == host));
        found.map(|(_, name)| name.as_str()).filter(|name| !name.is_empty())
    }

    /// Returns the name of the helper for all hosts.
    pub(super) fn store(&self) -> Option<&str> {
        self.store.as_deref().filter(|name| !name.is_empty())
    }

    /// Returns the entry for a repository, the one with the longest key first.
    pub(super) fn entry(&self, host: &str, path: &str) -> Option<AuthEntry<'_>> {
        let full = if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") };
        let mut name = Some(full.as_str());
        while let Some(wanted) = name {
            let found = self.auths.get_key_value(wanted).and_then(|(key, value)| value.entry(key));
            if found.is_some() {
                return found;
            }
            name = wanted.rsplit_once('/').map(|(shorter, _)| shorter);
        }
        self.auths.iter().filter(|(key, _)| host_of_key(key) == host).find_map(|(key, value)| value.entry(key))
    }
}

impl AuthValue {
    /// Returns the credentials of this entry; `None` if the entry has no credentials.
    fn entry<'a>(&self, key: &'a str) -> Option<AuthEntry<'a>> {
        let is_given = |text: &&String| !text.is_empty();
        if let Some(token) = self.identitytoken.as_ref().filter(is_given) {
            return Some(AuthEntry { key, credentials: Ok(Credentials::IdentityToken(token.clone())) });
        }
        if let Some(auth) = self.auth.as_ref().filter(is_given) {
            return Some(AuthEntry { key, credentials: decode(auth) });
        }
        let (user, password) = (self.username.as_ref().filter(is_given)?, self.password.as_ref()?);
        let credentials = Credentials::Basic { user: user.clone(), password: password.clone() };
        Some(AuthEntry { key, credentials: Ok(credentials) })
    }
}

/// Decodes base64 of `user:password`.
fn decode(auth: &str) -> Result<Credentials, &'static str> {
    let bytes = STANDARD.decode(auth).map_err(|_| "is not base64")?;
    let text = String::from_utf8(bytes).map_err(|_| "is not UTF-8")?;
    let (user, password) = text.split_once(':').ok_or("has no colon between user and password")?;
    // docker fills up with NUL.
    let password = password.trim_matches('\0');
    if user.is_empty() || text.trim_matches('\0').contains(char::is_control) {
        return Err("has no user, or control characters");
    }
    Ok(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
}

/// Returns the host that a key of docker's form means, such as `https://index.docker.io/v1/`; empty if it has a path
/// that is part of the meaning.
fn host_of_key(key: &str) -> &str {
    let after_scheme = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let host = match (after_scheme, key.split_once('/')) {
        (Some(rest), _) => rest.split('/').next().unwrap_or_default(),
        (None, None | Some((_, ""))) => key.trim_end_matches('/'),
        (None, Some((host @ ("index.docker.io" | "registry-1.docker.io"), "v1/" | "v2/"))) => host,
        (None, Some(_)) => "",
    };
    if ["index.docker.io", "registry-1.docker.io"].contains(&host) { DOCKER_HUB } else { host }
}
