//! The endpoints of a reference: mirrors in their order, then the registry itself.

use std::fmt;
use std::path::PathBuf;

use super::{MirrorUses, RegistriesConf, RegistryRule};
use crate::reference::{self, Reference};

/// A repository of a registry or of a mirror, from which a reference can be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Host and port of the registry, as in a reference: `docker.io` for Docker Hub.
    pub host: String,
    /// Path of the repository in the registry.
    pub path: String,
    /// Whether plain HTTP and certificates that cannot be verified are accepted.
    pub is_insecure: bool,
    /// Whether the endpoint is a mirror.
    pub is_mirror: bool,
}

/// The error of a reference for which no endpoint may be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The registry is blocked.
    #[error("{reference} is blocked: {} has `blocked = true` for {prefix}", file.display())]
    Blocked {
        /// Reference that was asked for.
        reference: String,
        /// Prefix of the rule.
        prefix: String,
        /// Path of the configuration file.
        file: PathBuf,
    },
    /// A location makes no valid name.
    #[error(
        "{} sends {reference} to {name:?}, which is no HOST/PATH: correct the location of {prefix}", file.display()
    )]
    BadLocation {
        /// Reference that was asked for.
        reference: String,
        /// Name that the location makes.
        name: String,
        /// Prefix of the rule.
        prefix: String,
        /// Path of the configuration file.
        file: PathBuf,
    },
}

impl Endpoint {
    /// Returns the repository that a reference names, without any configuration.
    #[must_use]
    pub fn of(reference: &Reference) -> Self {
        let (host, path) = (reference.host().to_owned(), reference.path().to_owned());
        Self { host, path, is_insecure: false, is_mirror: false }
    }

    /// Returns the host that requests go to.
    #[must_use]
    pub fn server(&self) -> &str {
        reference::server_of(&self.host)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl RegistriesConf {
    /// Returns the endpoints to try for a pull, in their order. There is at least one.
    ///
    /// # Errors
    ///
    /// If the registry is blocked, or if a location makes no valid name.
    pub fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, EndpointError> {
        let Some((rule, matched)) = self.rule_for(reference) else { return Ok(vec![Endpoint::of(reference)]) };
        rule.refuse_blocked(reference)?;
        let is_used = |uses| match uses {
            MirrorUses::All => true,
            MirrorUses::DigestOnly => reference.digest().is_some(),
            MirrorUses::TagOnly => reference.digest().is_none(),
        };
        let mut endpoints = Vec::new();
        for mirror in rule.mirrors.iter().filter(|mirror| is_used(mirror.uses)) {
            let (host, path) = rule.rewrite(reference, matched, Some(&mirror.location))?;
            endpoints.push(Endpoint { host, path, is_insecure: mirror.is_insecure, is_mirror: true });
        }
        endpoints.push(rule.registry(reference, matched)?);
        Ok(endpoints)
    }

    /// Returns the endpoint for a push: the registry itself, never a mirror.
    ///
    /// # Errors
    ///
    /// If the registry is blocked, or if a location makes no valid name.
    pub fn push_endpoint(&self, reference: &Reference) -> Result<Endpoint, EndpointError> {
        let Some((rule, matched)) = self.rule_for(reference) else { return Ok(Endpoint::of(reference)) };
        rule.refuse_blocked(reference)?;
        rule.registry(reference, matched)
    }

    /// The rule with the longest prefix, and how many bytes of the name it matches.
    fn rule_for(&self, reference: &Reference) -> Option<(&RegistryRule, usize)> {
        let matching = self.rules.iter().filter_map(|rule| Some((rule, rule.matches(reference)?)));
        // With the same length, a host that is spelled out goes before a wildcard.
        matching.max_by_key(|(rule, length)| (*length, !rule.prefix.starts_with('*')))
    }
}

impl RegistryRule {
    /// Returns how many bytes of the full reference the prefix matches.
    fn matches(&self, reference: &Reference) -> Option<usize> {
        if let Some(domain) = self.prefix.strip_prefix('*') {
            let host = reference.host();
            let port = host.rfind(':').filter(|_| !host.ends_with(']')).unwrap_or(host.len());
            let name = host.get(..port)?;
            return (name.ends_with(domain) && name.len() > domain.len()).then_some(name.len());
        }
        let text = reference.to_string();
        let rest = text.strip_prefix(&self.prefix)?;
        (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(self.prefix.len())
    }

    fn refuse_blocked(&self, reference: &Reference) -> Result<(), EndpointError> {
        if !self.is_blocked {
            return Ok(());
        }
        let (prefix, file) = (self.prefix.clone(), self.file.clone());
        Err(EndpointError::Blocked { reference: reference.to_string(), prefix, file })
    }

    fn registry(&self, reference: &Reference, matched: usize) -> Result<Endpoint, EndpointError> {
        let (host, path) = self.rewrite(reference, matched, self.location.as_deref())?;
        Ok(Endpoint { host, path, is_insecure: self.is_insecure, is_mirror: false })
    }

    /// Replaces the matched part of the name by a location.
    fn rewrite(
        &self,
        reference: &Reference,
        matched: usize,
        location: Option<&str>,
    ) -> Result<(String, String), EndpointError> {
        let name = reference.name();
        let name = match location {
            // A prefix with tag or digest matches more than the name.
            Some(location) => format!("{location}{}", name.get(matched..).unwrap_or_default()),
            None => name,
        };
        reference::split_location(&name).ok_or_else(|| {
            let (prefix, file) = (self.prefix.clone(), self.file.clone());
            EndpointError::BadLocation { reference: reference.to_string(), name, prefix, file }
        })
    }
}
