//! policy.json: which images may be used, by the rules of containers-policy.json(5).
//!
//! Signatures by keys (`sigstoreSigned`) are checked by the caller of [`SignaturePolicy::decide`]. A requirement that
//! this program cannot check refuses the image: nothing is skipped. Without a policy file everything is
//! accepted, and the verdict says so.

mod file;
mod scopes;
mod sigstore;
mod unique_json;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub use scopes::{path_scopes, registry_scopes};
pub use sigstore::{SignedIdentity, SigstoreKeys, SigstoreRequirement};

use crate::locations::Locations;
use crate::reference::Reference;
use crate::text_file;

/// Transport of images in registries.
const REGISTRY_TRANSPORT: &str = "docker";

/// The rules of a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignaturePolicy {
    path: PathBuf,
    default: Vec<Requirement>,
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

/// One requirement of a scope. All of a scope must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    AcceptAnything,
    Reject,
    /// A signature by one of several keys.
    Sigstore(SigstoreRequirement),
    /// A requirement that needs other signatures, by its type.
    Unchecked(String),
}

/// What a policy demands of an image that it does not refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDemand {
    /// Path of the policy file.
    pub file: PathBuf,
    /// The rule that decided: `default`, or transport and scope.
    pub rule: String,
    /// The signatures that the image must have, each of them; none if the image is accepted without.
    pub signatures: Vec<SigstoreRequirement>,
}

/// Verdict on an image that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyVerdict {
    /// A policy file accepts the image without a signature.
    Accepted {
        /// Path of the policy file.
        file: PathBuf,
        /// The rule that decided: `default`, or transport and scope.
        rule: String,
    },
    /// There is no policy file.
    NoPolicy,
}

/// The error of a policy file, or of an image that it refuses.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the policy {}: {source}", path.display())]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("the policy {} is not valid: {reason}", path.display())]
    Invalid {
        /// Path of the file.
        path: PathBuf,
        /// Reason, with the place in the file.
        reason: String,
    },
    /// The policy rejects the image.
    #[error("{image} is rejected by the policy {}: {rule} has the requirement `reject`", path.display())]
    Rejected {
        /// Name of the image.
        image: String,
        /// Path of the file.
        path: PathBuf,
        /// The rule that decided.
        rule: String,
    },
    /// The policy has a requirement that this program cannot check.
    #[error(
        "{image} cannot be used: the policy {} has the requirement `{requirement}` for {rule}, which cannot be checked \
         by this program; pull the image with podman or skopeo, which check it, and import it from there",
        path.display()
    )]
    Unchecked {
        /// Name of the image.
        image: String,
        /// Path of the file.
        path: PathBuf,
        /// The rule that decided.
        rule: String,
        /// Type of the requirement.
        requirement: String,
    },
}

impl SignaturePolicy {
    /// Reads the policy file of the user, or that of the system; `None` if there is no policy file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not valid.
    pub fn load(locations: &Locations) -> Result<Option<Self>, PolicyError> {
        for path in locations.policy_files() {
            match text_file::read(&path) {
                Ok(Some(text)) => return Self::parse(&text, &path).map(Some),
                Ok(None) => {}
                Err(source) => return Err(PolicyError::Read { path, source }),
            }
        }
        Ok(None)
    }

    /// Parses the text of a policy file. `path` is for messages.
    ///
    /// # Errors
    ///
    /// If the text is not valid. Unknown fields and requirements are errors, as they may be restrictions.
    pub fn parse(text: &str, path: &Path) -> Result<Self, PolicyError> {
        let invalid = |reason| PolicyError::Invalid { path: path.to_owned(), reason };
        let (default, transports) = file::parse(text).map_err(invalid)?;
        Ok(Self { path: path.to_owned(), default, transports })
    }

    /// Returns the path of the policy file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks an image in a registry by a caller that checks no signatures.
    ///
    /// # Errors
    ///
    /// If the policy refuses the image, or asks for signatures.
    pub fn check_registry(&self, reference: &Reference) -> Result<PolicyVerdict, PolicyError> {
        self.check(REGISTRY_TRANSPORT, &registry_scopes(reference), &reference.to_string())
    }

    /// Checks an image of any transport, such as `oci` or `dir`, by its scopes, the most specific first, by a caller
    /// that checks no signatures.
    ///
    /// # Errors
    ///
    /// If the policy refuses the image, which `image` names in the message, or asks for signatures.
    pub fn check(&self, transport: &str, scopes: &[String], image: &str) -> Result<PolicyVerdict, PolicyError> {
        let PolicyDemand { file, rule, signatures } = self.decide(transport, scopes, image)?;
        if !signatures.is_empty() {
            let (image, requirement) = (image.to_owned(), sigstore::SIGSTORE_SIGNED.to_owned());
            return Err(PolicyError::Unchecked { image, path: file, rule, requirement });
        }
        Ok(PolicyVerdict::Accepted { file, rule })
    }

    /// Returns what the policy demands of an image in a registry.
    ///
    /// # Errors
    ///
    /// If the policy refuses the image whatever signatures it has.
    pub fn decide_registry(&self, reference: &Reference) -> Result<PolicyDemand, PolicyError> {
        self.decide(REGISTRY_TRANSPORT, &registry_scopes(reference), &reference.to_string())
    }

    /// Returns what the policy demands of an image of any transport, by its scopes, the most specific first.
    ///
    /// # Errors
    ///
    /// If the policy refuses the image, which `image` names in the message, whatever signatures it has.
    pub fn decide(&self, transport: &str, scopes: &[String], image: &str) -> Result<PolicyDemand, PolicyError> {
        let (rule, requirements) = self.rule_for(transport, scopes);
        let (path, image) = (self.path.clone(), image.to_owned());
        // A rejection is certain, so it goes before what cannot be checked.
        if requirements.contains(&Requirement::Reject) {
            return Err(PolicyError::Rejected { image, path, rule });
        }
        let mut signatures = Vec::new();
        for requirement in requirements {
            match requirement {
                Requirement::Unchecked(requirement) => {
                    return Err(PolicyError::Unchecked { image, path, rule, requirement: requirement.clone() });
                }
                Requirement::Sigstore(requirement) => signatures.push(requirement.clone()),
                Requirement::AcceptAnything | Requirement::Reject => {}
            }
        }
        Ok(PolicyDemand { file: path, rule, signatures })
    }

    /// The rule that decides, by name, and its requirements.
    fn rule_for(&self, transport: &str, scopes: &[String]) -> (String, &[Requirement]) {
        let rules = self.transports.get(transport);
        let everything = String::new();
        for scope in scopes.iter().chain([&everything]) {
            if let Some(requirements) = rules.and_then(|rules| rules.get(scope)) {
                return (format!("transports.{transport}.{scope:?}"), requirements);
            }
        }
        ("default".to_owned(), &self.default)
    }
}

/// Checks an image in a registry; without a policy everything is accepted.
///
/// # Errors
///
/// If the policy refuses the image.
pub fn check_registry(policy: Option<&SignaturePolicy>, reference: &Reference) -> Result<PolicyVerdict, PolicyError> {
    policy.map_or(Ok(PolicyVerdict::NoPolicy), |policy| policy.check_registry(reference))
}

#[cfg(test)]
mod tests;
