//! What the policies say about the names of images, for the list of images.

use std::io::Write;

use libcomposefs_image::Digest;
use libcomposefs_repo::{Repository, StoredSignature};
use libcomposefs_trust::Moment;
use serde_json::{Value, json};

use crate::trust::{ImageTrust, NamedImage, report};

/// The policies of this machine, asked about the images of a repository.
pub(super) struct ImagesTrust<'r> {
    repository: &'r Repository,
    trust: ImageTrust,
}

impl<'r> ImagesTrust<'r> {
    /// Reads the policies; `None` without a policy.
    pub(super) fn load(repository: &'r Repository) -> anyhow::Result<Option<Self>> {
        let trust = ImageTrust::load()?;
        Ok((!trust.policies().is_empty()).then_some(Self { repository, trust }))
    }

    /// Prints a line for each name of an image and each policy.
    pub(super) fn print(&self, out: &mut impl Write, digest: &Digest, names: &[&str]) -> anyhow::Result<()> {
        let signatures = self.repository.signatures(digest)?;
        for name in names {
            for (loaded, verdict) in self.verdicts(digest, name, &signatures)? {
                let policy = loaded.path.display();
                match verdict {
                    Ok(acceptance) => writeln!(out, "    {name}: {acceptance}, by {policy}")?,
                    Err(refusal) => writeln!(out, "    {name}: refused: {refusal}, by {policy}")?,
                }
            }
        }
        Ok(())
    }

    /// Returns what each policy says about each name of an image.
    pub(super) fn json(&self, digest: &Digest, names: &[&str]) -> anyhow::Result<Vec<Value>> {
        let signatures = self.repository.signatures(digest)?;
        let of_name = |name: &&str| {
            let policies = report::verdicts_json(&self.verdicts(digest, name, &signatures)?);
            Ok(json!({ "name": name, "policies": policies }))
        };
        names.iter().map(of_name).collect()
    }

    fn verdicts(&self, digest: &Digest, name: &str, signatures: &[StoredSignature]) -> anyhow::Result<Verdicts<'_>> {
        self.trust.verdicts(NamedImage { name, digest: *digest }, Moment::Mount, signatures)
    }
}

type Verdicts<'t> = Vec<(&'t crate::trust::LoadedPolicy, crate::trust::TrustVerdict)>;
