//! Image files that a policy judges on request: the mount option `policy=NAME`.

use std::path::Path;

use anyhow::{Context as _, bail};
use libcomposefs_mount::{ImageFile, Options};
use libcomposefs_repo::Repository;
use libcomposefs_trust::Moment;

use super::{ImageTrust, NamedImage};
use crate::commands::mount::with_remedy;

/// Judges an image file if the options demand it. The signatures are those of the repositories whose objects the mount
/// uses, and the digest is that which the kernel measures of the open file; the mount demands it from then on.
pub(crate) fn judge_file(image: &ImageFile, options: &mut Options, is_dry_run: bool) -> anyhow::Result<()> {
    let Some(name) = options.policy().map(str::to_owned) else { return Ok(()) };
    let trust = ImageTrust::load()?;
    if trust.policies().is_empty() {
        bail!("policy={name} needs a policy: /etc/composefs/policy.toml does not exist");
    }
    let digest = image.kernel_digest().map_err(|error| with_remedy(&error))?;
    let mut signatures = Vec::new();
    let basedirs = options.basedirs.iter().filter_map(|basedir| basedir.path());
    for repository in basedirs.filter_map(repository_of) {
        let read = repository.signatures(&digest);
        signatures.extend(read.with_context(|| format!("signatures of {}", repository.path().display()))?);
    }
    let image_name = NamedImage { name: &name, digest };
    let judgement = trust.judge(image_name, Moment::Mount, &signatures)?;
    judgement.warn_of_expiry(image_name);
    options.judged(image.path(), &digest).map_err(|error| with_remedy(&error))?;
    if !is_dry_run {
        trust.raise_floors(&judgement)?;
    }
    Ok(())
}

/// Returns the repository that an object directory belongs to, if it is one of a repository.
fn repository_of(objects: &Path) -> Option<Repository> {
    let objects = objects.canonicalize().ok()?;
    let repository = Repository::open(objects.parent()?).ok()?;
    (repository.objects().path().canonicalize().ok()? == objects).then_some(repository)
}

/// Refuses `policy=` for images of a repository.
pub(crate) fn expect_no_policy(options: &Options) -> anyhow::Result<()> {
    match options.policy() {
        Some(name) => bail!(
            "policy={name} is for image files: an image of a repository is judged under its name in any case, leave \
             it out"
        ),
        None => Ok(()),
    }
}
