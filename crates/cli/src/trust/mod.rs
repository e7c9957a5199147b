//! The trust policies of the machine and of the user, and what they say of images (`docs/format/trust.md`).
//!
//! A command judges an image by the digest of its open file before it gives the image a name or mounts it. Without a
//! policy nothing is demanded. With several, each must accept.

mod floors_file;
pub(crate) mod image_file;
pub(crate) mod mount_record;
mod policy_file;
pub(crate) mod report;

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use libcomposefs_image::Digest;
use libcomposefs_repo::{Repository, StoredSignature};
use libcomposefs_trust::{
    Acceptance, Evidence, Moment, NamePattern, Question, SIGNATURES_MAX, STATEMENTS_MAX, TrustPolicy, TrustRefusal,
    decide,
};

use rustix::fs::OFlags;

pub(crate) use self::floors_file::FloorsFile;
use crate::error_text::with_remedy;

/// The policies that apply to this process.
pub(crate) struct ImageTrust {
    policies: Vec<LoadedPolicy>,
}

/// A policy that was read, with the serial numbers that it has accepted.
pub(crate) struct LoadedPolicy {
    pub(crate) path: PathBuf,
    pub(crate) policy: TrustPolicy,
    floors: FloorsFile,
}

/// An image under a name.
#[derive(Clone, Copy)]
pub(crate) struct NamedImage<'a> {
    /// The name: a ref, the name of an OCI image, or the digest of an image that is used without a name.
    pub(crate) name: &'a str,
    /// The digest of the open image file.
    pub(crate) digest: Digest,
}

/// The words of all policies about an image that all of them accept.
pub(crate) struct Judgement {
    accepted: Vec<AcceptedBy>,
}

/// The acceptance by one policy.
pub(crate) struct AcceptedBy {
    pub(crate) policy: PathBuf,
    pub(crate) acceptance: Acceptance,
}

/// The acceptance of an image by one policy, or the refusal.
pub(crate) type TrustVerdict = Result<Acceptance, TrustRefusal>;

impl ImageTrust {
    /// Reads the policies. One that cannot be read or breaks a rule is an error: nothing is accepted then.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let mut policies = Vec::new();
        for place in policy_file::places() {
            if let Some((path, policy)) = policy_file::read(&place)? {
                policies.push(LoadedPolicy { path, policy, floors: FloorsFile::of(&place) });
            }
        }
        Ok(Self { policies })
    }

    /// Returns the policies, that of the machine first.
    pub(crate) fn policies(&self) -> &[LoadedPolicy] {
        &self.policies
    }

    /// Returns what each policy says.
    pub(crate) fn verdicts(
        &self,
        image: NamedImage<'_>,
        moment: Moment,
        signatures: &[StoredSignature],
    ) -> anyhow::Result<Vec<(&LoadedPolicy, TrustVerdict)>> {
        let all = evidence(signatures);
        let ask = |loaded: &LoadedPolicy| -> anyhow::Result<TrustVerdict> {
            let evidence = loaded.limited(&all);
            let floors = loaded.floors.read()?;
            let NamedImage { name, digest } = image;
            let question = Question { name, digest, now: SystemTime::now(), moment, floors: &floors };
            Ok(decide(&loaded.policy, &question, &evidence))
        };
        self.policies.iter().map(|loaded| Ok((loaded, ask(loaded)?))).collect()
    }

    /// Judges an image by these signatures. The error says which policy refuses it, why, and what to do.
    fn judge(
        &self,
        image: NamedImage<'_>,
        moment: Moment,
        signatures: &[StoredSignature],
    ) -> anyhow::Result<Judgement> {
        let mut accepted = Vec::new();
        for (loaded, verdict) in self.verdicts(image, moment, signatures)? {
            let policy = loaded.path.clone();
            match verdict {
                Ok(acceptance) => accepted.push(AcceptedBy { policy, acceptance }),
                Err(refusal) => {
                    let error = format!("{} refuses {image}: {refusal}", policy.display());
                    return Err(with_remedy(error, refusal.remedy()));
                }
            }
        }
        Ok(Judgement { accepted })
    }

    /// Judges an image by the signatures that a repository has. Without a policy, they are not read.
    pub(crate) fn judge_stored(
        &self,
        repository: &Repository,
        image: NamedImage<'_>,
        moment: Moment,
    ) -> anyhow::Result<Judgement> {
        self.judge_with(repository, image, moment, || Ok::<_, anyhow::Error>(Vec::new()))
    }

    /// Judges an image by the signatures that a repository has, and by those that arrive with the image. Without a
    /// policy, none is read.
    pub(crate) fn judge_with<E: Into<anyhow::Error>>(
        &self,
        repository: &Repository,
        image: NamedImage<'_>,
        moment: Moment,
        arriving: impl FnOnce() -> Result<Vec<StoredSignature>, E>,
    ) -> anyhow::Result<Judgement> {
        if self.policies.is_empty() {
            return Ok(Judgement { accepted: Vec::new() });
        }
        let mut signatures = repository.signatures(&image.digest)?;
        signatures.extend(arriving().map_err(Into::into)?);
        self.judge(image, moment, &signatures)
    }

    /// Raises the floors to the serial numbers by which an image was accepted. They are on disk when this returns.
    pub(crate) fn raise_floors(&self, judgement: &Judgement) -> anyhow::Result<()> {
        for (loaded, accepted) in self.policies.iter().zip(&judgement.accepted) {
            if let Acceptance::Signed { rule, serial, .. } = &accepted.acceptance {
                loaded.floors.raise(rule, *serial)?;
            }
        }
        Ok(())
    }
}

impl LoadedPolicy {
    /// Leaves out signatures that no key of the policy has made, if there are more than a decision looks at: others can
    /// add such files, which must not have an image refused.
    fn limited<'e>(&self, all: &'e [Evidence]) -> Cow<'e, [Evidence]> {
        let is_small = all.len() <= STATEMENTS_MAX && all.iter().all(|one| one.signatures.len() <= SIGNATURES_MAX);
        if is_small {
            return Cow::Borrowed(all);
        }
        let good = all
            .iter()
            .map(|one| Evidence { statement: one.statement.clone(), signatures: self.policy.good_signatures(one) });
        good.filter(|one| !one.signatures.is_empty()).collect()
    }

    /// Returns the rule that decides about a name, if that rule asks for signatures.
    pub(crate) fn signed_rule(&self, name: &str) -> Option<&NamePattern> {
        self.policy.signed_rule(name)
    }

    /// Returns the highest serial number that a rule has accepted.
    pub(crate) fn floor_of(&self, rule: &NamePattern) -> anyhow::Result<u64> {
        Ok(self.floors.read()?.of(rule))
    }

    /// Sets the floor of a rule, also to a lower number.
    pub(crate) fn set_floor(&self, rule: &NamePattern, serial: u64) -> anyhow::Result<()> {
        self.floors.set(rule, serial)
    }
}

impl Judgement {
    /// Returns whether a policy accepted the image by signatures.
    pub(crate) fn is_signed(&self) -> bool {
        self.accepted.iter().any(|accepted| matches!(accepted.acceptance, Acceptance::Signed { .. }))
    }

    /// Prints a warning for each statement that has expired and is accepted nevertheless.
    pub(crate) fn warn_of_expiry(&self, image: NamedImage<'_>) {
        for AcceptedBy { policy, acceptance } in &self.accepted {
            if let Acceptance::Signed { expired: Some(_), .. } = acceptance {
                tell!(
                    "composefs: warning: the statement about {image} has expired; {} accepts it for a mount",
                    policy.display()
                );
            }
        }
    }
}

impl fmt::Display for NamedImage<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = self.digest.to_hex();
        if self.name == hex { out.write_str(&hex) } else { write!(out, "{} ({hex})", self.name) }
    }
}

/// Judges an image of a repository that gets a name or arrives under one.
pub(crate) fn admit(repository: &Repository, image: NamedImage<'_>) -> anyhow::Result<()> {
    ImageTrust::load()?.judge_stored(repository, image, Moment::FirstUse).map(drop)
}

/// Opens a file for reading. A symlink is an error, and a FIFO does not wait.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

/// Joins the signatures of equal statements.
fn evidence(signatures: &[StoredSignature]) -> Vec<Evidence> {
    let mut sorted: Vec<&StoredSignature> = signatures.iter().collect();
    sorted.sort();
    sorted.dedup();
    let same = sorted.chunk_by(|one, two| one.statement == two.statement);
    same.map(|group| Evidence {
        statement: group[0].statement.clone(),
        signatures: group.iter().map(|stored| stored.signature.clone()).collect(),
    })
    .collect()
}
