//! The decision: whether an image may be used under a name.

use std::fmt;
use std::time::SystemTime;

use libcomposefs_image::Digest;

use crate::digest_text;
use crate::evidence::{Evidence, SIGNATURES_MAX, STATEMENTS_MAX, SignatureError};
use crate::floors::Floors;
use crate::name_pattern::NamePattern;
use crate::pkcs7::DigestSignature;
use crate::policy::{Demand, PolicyKey, SignatureDemand, TrustPolicy};
use crate::ssh::{self, ParsedSignature};
use crate::statement::{Statement, StatementError};

/// What happens with the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The image arrives or gets a name: pull, import, sync, tag. An expired statement is refused.
    FirstUse,
    /// The image is used: mount, run. An expired statement is reported, and refused only if the policy says so;
    /// otherwise a machine without network would stop at a date.
    Mount,
}

/// An image and a name: whether the image may be used under this name is decided.
#[derive(Clone, Debug)]
pub struct Question<'q> {
    /// The name under which the image is used.
    pub name: &'q str,
    /// The digest that was measured of the open image file.
    pub digest: Digest,
    /// The current time.
    pub now: SystemTime,
    /// What happens with the image.
    pub moment: Moment,
    /// The serial numbers accepted before.
    pub floors: &'q Floors,
}

/// Why an image is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Acceptance {
    /// The policy has no rule for the name, and accepts such names.
    NoRule,
    /// The rule asks for nothing.
    Unconditional {
        /// The name pattern of the rule.
        rule: NamePattern,
    },
    /// Enough keys have signed a statement about the image.
    Signed {
        /// The name pattern of the rule.
        rule: NamePattern,
        /// The keys that have signed, by their names in the policy, sorted.
        keys: Vec<String>,
        /// The serial number of the statement, to which the floor of the rule may be raised.
        serial: u64,
        /// When the statement expired, if it has.
        expired: Option<SystemTime>,
    },
}

/// Why an image is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustRefusal {
    /// The policy has no rule for the name.
    #[error("no rule of the policy is about the name {name:?}")]
    NoRule {
        /// The name.
        name: String,
    },
    /// The rule accepts no image.
    #[error("the rule {rule} rejects all images of its names")]
    Rejected {
        /// The name pattern of the rule.
        rule: NamePattern,
    },
    /// No statement lies beside the image.
    #[error("no statement about the image is here, and the rule {rule} asks for {}", signatures(*threshold))]
    NoStatement {
        /// The name pattern of the rule.
        rule: NamePattern,
        /// How many keys must have signed.
        threshold: usize,
    },
    /// There are more statements or signatures than are looked at.
    #[error("the image has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Too few of the rule's keys have signed.
    #[error("{}", too_few(.0))]
    TooFew(TooFew),
    /// What is signed is not a statement.
    #[error("the signed statement cannot be used: {0}")]
    Statement(#[source] StatementError),
    /// The statement is about another image.
    #[error("the statement is about another image, {}", digest_text::format(.0))]
    OtherImage(Digest),
    /// The statement is about another name.
    #[error("the statement is for the name {signed}, not for {name:?}")]
    OtherName {
        /// The name in the statement.
        signed: NamePattern,
        /// The name under which the image is used.
        name: String,
    },
    /// The statement has expired.
    #[error("the statement expired at {}", humantime::format_rfc3339_seconds(*.0))]
    Expired(SystemTime),
    /// The statement is older than the rule allows.
    #[error("the rule {rule} has a max_age, and {reason}")]
    TooOld {
        /// The name pattern of the rule.
        rule: NamePattern,
        /// What is wrong with the time.
        reason: &'static str,
    },
    /// A newer image was accepted before.
    #[error("serial number {serial} is below {floor}, which {}", floor_reason(*.is_accepted))]
    BelowFloor {
        /// The serial number of the statement.
        serial: u64,
        /// The least serial number that is accepted.
        floor: u64,
        /// Whether the floor is that of an earlier acceptance, not that of the policy.
        is_accepted: bool,
    },
}

/// The signatures of a statement that are too few.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TooFew {
    /// The name pattern of the rule.
    pub rule: NamePattern,
    /// How many keys must have signed.
    pub threshold: usize,
    /// The keys that have signed.
    pub signed: Vec<String>,
    /// The keys that the rule names.
    pub named: Vec<String>,
    /// Why each other signature does not count.
    pub errors: Vec<SignatureError>,
}

impl TrustRefusal {
    /// Says what to do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            TrustRefusal::NoRule { .. } => "add a rule for the name to the policy, or use a name that has one",
            TrustRefusal::Rejected { .. } => "use another image, or change the rule",
            TrustRefusal::NoStatement { .. } => "fetch the image from a remote that has its signatures, or sign it",
            TrustRefusal::TooMany { .. } => "remove the files that do not belong to the image from its signatures",
            TrustRefusal::TooFew(_) => "have the statement signed by another key of the rule",
            TrustRefusal::Statement(_) | TrustRefusal::OtherImage(_) => {
                "get the statement that was made for this image"
            }
            TrustRefusal::OtherName { .. } => "use the name of the statement, or have this name signed",
            TrustRefusal::Expired(_) | TrustRefusal::TooOld { .. } => "get a newer statement, and check the clock",
            TrustRefusal::BelowFloor { is_accepted: true, .. } => {
                "to go back on purpose: composefs trust allow-older NAME"
            }
            TrustRefusal::BelowFloor { .. } => "use a newer image",
        }
    }
}

impl fmt::Display for Acceptance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Acceptance::NoRule => f.write_str("accepted: the policy has no rule for the name"),
            Acceptance::Unconditional { rule } => write!(f, "accepted: the rule {rule} asks for nothing"),
            Acceptance::Signed { rule, keys, .. } => write!(f, "trusted: {} (rule {rule})", keys.join(", ")),
        }
    }
}

/// Decides whether an image may be used under a name.
///
/// Of several statements, the acceptable one with the highest serial number counts. If none is acceptable, the refusal
/// is that of the statement which came furthest.
///
/// # Errors
///
/// The policy refuses the image.
pub fn decide(
    policy: &TrustPolicy,
    question: &Question<'_>,
    evidence: &[Evidence],
) -> Result<Acceptance, TrustRefusal> {
    let Some(rule) = policy.rule_for(question.name) else {
        let name = question.name.to_owned();
        return if policy.accepts_names_without_rule {
            Ok(Acceptance::NoRule)
        } else {
            Err(TrustRefusal::NoRule { name })
        };
    };
    let demand = match &rule.demand {
        Demand::Nothing => return Ok(Acceptance::Unconditional { rule: rule.name.clone() }),
        Demand::Rejection => return Err(TrustRefusal::Rejected { rule: rule.name.clone() }),
        Demand::Signatures(demand) => demand,
    };
    if evidence.len() > STATEMENTS_MAX {
        return Err(TrustRefusal::TooMany { what: "statements", limit: STATEMENTS_MAX });
    }
    let judge = Judge { policy, rule: &rule.name, demand, question };
    let mut best: Option<Signed> = None;
    let mut refusal: Option<(usize, TrustRefusal)> = None;
    for item in evidence {
        match judge.judge(item) {
            Ok(signed) if best.as_ref().is_none_or(|best| signed.serial > best.serial) => best = Some(signed),
            Ok(_) => {}
            Err((step, error)) if refusal.as_ref().is_none_or(|(furthest, _)| step > *furthest) => {
                refusal = Some((step, error));
            }
            Err(_) => {}
        }
    }
    match (best, refusal) {
        (Some(Signed { keys, serial, expired }), _) => {
            Ok(Acceptance::Signed { rule: rule.name.clone(), keys, serial, expired })
        }
        (None, Some((_, refusal))) => Err(refusal),
        (None, None) => Err(TrustRefusal::NoStatement { rule: rule.name.clone(), threshold: demand.threshold }),
    }
}

struct Signed {
    keys: Vec<String>,
    serial: u64,
    expired: Option<SystemTime>,
}

struct Judge<'j> {
    policy: &'j TrustPolicy,
    rule: &'j NamePattern,
    demand: &'j SignatureDemand,
    question: &'j Question<'j>,
}

impl Judge<'_> {
    /// Judges one statement. A refusal comes with the number of the step at which it happened.
    fn judge(&self, evidence: &Evidence) -> Result<Signed, (usize, TrustRefusal)> {
        let keys = self.signers(evidence).map_err(|refusal| (0, refusal))?;
        // Only now are the bytes read: they are what the keys have signed.
        let statement = match evidence.only_digest() {
            Some(digest) => Statement::new(digest, NamePattern::any(), 0),
            None => Statement::parse(&evidence.statement).map_err(|error| (1, TrustRefusal::Statement(error)))?,
        };
        if statement.digest != self.question.digest {
            return Err((2, TrustRefusal::OtherImage(statement.digest)));
        }
        if !statement.name.fits(self.question.name) {
            let name = self.question.name.to_owned();
            return Err((3, TrustRefusal::OtherName { signed: statement.name, name }));
        }
        let expired = self.times(&statement).map_err(|refusal| (4, refusal))?;
        self.serial(statement.serial).map_err(|refusal| (5, refusal))?;
        Ok(Signed { keys, serial: statement.serial, expired })
    }

    /// Returns the keys of the rule that have signed the statement.
    fn signers(&self, evidence: &Evidence) -> Result<Vec<String>, TrustRefusal> {
        if evidence.signatures.len() > SIGNATURES_MAX {
            return Err(TrustRefusal::TooMany { what: "signatures of one statement", limit: SIGNATURES_MAX });
        }
        let (mut signed, mut errors) = (Vec::new(), Vec::new());
        for signature in &evidence.signatures {
            let signer = match evidence.only_digest() {
                Some(digest) => self.signer_of_digest(signature, &digest),
                None => self.signer(signature, &evidence.statement),
            };
            match signer {
                Ok(key) => signed.push(key),
                Err(error) => errors.push(error),
            }
        }
        // Two signatures of one key are one.
        signed.sort();
        signed.dedup();
        if signed.len() >= self.demand.threshold {
            return Ok(signed);
        }
        let (rule, named) = (self.rule.clone(), self.demand.keys.clone());
        Err(TrustRefusal::TooFew(TooFew { rule, threshold: self.demand.threshold, signed, named, errors }))
    }

    /// Returns the name of the key of the rule that has made a signature.
    fn signer(&self, signature: &[u8], statement: &[u8]) -> Result<String, SignatureError> {
        let signature = ParsedSignature::parse(signature)?;
        let found = self.keys().find(|(_, key)| key.key.is_ssh_key(signature.key()));
        let Some((name, key)) = found else {
            return Err(SignatureError::OtherKey(ssh::fingerprint(signature.key())));
        };
        expect_not_revoked(name, key)?;
        signature.check(name, statement)?;
        Ok(name.clone())
    }

    /// Returns the name of the key of the rule that has made a signature of a digest. Several certificates may have the
    /// names of one signer.
    fn signer_of_digest(&self, signature: &[u8], digest: &Digest) -> Result<String, SignatureError> {
        let signature = DigestSignature::parse(signature)?;
        let mut error = SignatureError::OtherKey(signature.signer());
        for (name, key) in self.keys() {
            let Some(certificate) = key.key.certificate().filter(|certificate| signature.is_by(certificate)) else {
                continue;
            };
            let checked = expect_not_revoked(name, key).and_then(|()| signature.check(name, certificate, digest));
            match checked {
                Ok(()) => return Ok(name.clone()),
                Err(found) => error = found,
            }
        }
        Err(error)
    }

    /// Returns the keys of the rule.
    fn keys(&self) -> impl Iterator<Item = (&String, &PolicyKey)> {
        self.demand.keys.iter().filter_map(|name| Some((name, self.policy.keys.get(name)?)))
    }

    /// Judges the times of a statement. Returns when it expired, if that is not refused.
    fn times(&self, statement: &Statement) -> Result<Option<SystemTime>, TrustRefusal> {
        let now = self.question.now;
        let is_judged = self.question.moment == Moment::FirstUse || self.policy.judges_expiry_at_mount;
        let expired = statement.expires.filter(|expires| *expires <= now);
        if let Some(expires) = expired.filter(|_| is_judged) {
            return Err(TrustRefusal::Expired(expires));
        }
        if let Some(max_age) = self.demand.max_age.filter(|_| is_judged) {
            let too_old = |reason| Err(TrustRefusal::TooOld { rule: self.rule.clone(), reason });
            let Some(issued) = statement.issued else {
                return too_old("the statement does not say when it was issued");
            };
            match now.duration_since(issued) {
                Ok(age) if age > max_age => return too_old("the statement was issued longer ago"),
                Ok(_) => {}
                Err(_) => return too_old("the statement was issued in the future of this clock"),
            }
        }
        Ok(expired)
    }

    fn serial(&self, serial: u64) -> Result<(), TrustRefusal> {
        let accepted = self.question.floors.of(self.rule);
        let floor = accepted.max(self.demand.min_serial);
        if serial < floor {
            return Err(TrustRefusal::BelowFloor { serial, floor, is_accepted: accepted == floor });
        }
        Ok(())
    }
}

fn expect_not_revoked(name: &str, key: &PolicyKey) -> Result<(), SignatureError> {
    match &key.revoked {
        Some(reason) => Err(SignatureError::Revoked { key: name.to_owned(), reason: reason.clone() }),
        None => Ok(()),
    }
}

fn floor_reason(is_accepted: bool) -> &'static str {
    if is_accepted { "was accepted before" } else { "the rule demands" }
}

fn signatures(count: usize) -> String {
    if count == 1 { "1 signature".to_owned() } else { format!("{count} signatures") }
}

fn too_few(TooFew { rule, threshold, signed, named, errors }: &TooFew) -> String {
    let mut text = format!("{} of {} that the rule {rule} asks for", signed.len(), signatures(*threshold));
    if !signed.is_empty() {
        text.push_str(&format!(" ({})", signed.join(", ")));
    }
    text.push_str(&format!("; the rule names the keys {}", named.join(", ")));
    for error in errors {
        text.push_str(&format!("; a signature does not count: {error}"));
    }
    text
}
