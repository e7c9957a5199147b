//! policy.json for images that do not come from a registry, as other programs that read it apply it to them too.

use std::path::{Path, PathBuf};

#[cfg(feature = "network")]
use libcomposefs_remote::Reference;
use libcomposefs_remote::SignaturePolicy;
use libcomposefs_remote::policy::{PolicyDemand, path_scopes};

use super::locations::locations;

fn load() -> anyhow::Result<Option<SignaturePolicy>> {
    Ok(SignaturePolicy::load(&locations(None))?)
}

fn check(transport: &str, scopes: &[String], image: &str) -> anyhow::Result<()> {
    if let Some(policy) = load()? {
        policy.check(transport, scopes, &format!("{transport}:{image}"))?;
    }
    Ok(())
}

/// Returns what the policy demands of an image in a layout; `None` without a policy.
pub(super) fn of_layout(transport: &str, path: &Path, name: Option<&str>) -> anyhow::Result<Option<PolicyDemand>> {
    let image = format!("{transport}:{}", path.display());
    let decide = |policy: SignaturePolicy| policy.decide(transport, &path_scopes(path, name), &image);
    Ok(load()?.map(decide).transpose()?)
}

/// Returns what the policy demands of an image in a registry; `None` without a policy.
#[cfg(feature = "network")]
pub(super) fn of_registry(reference: &Reference) -> anyhow::Result<Option<PolicyDemand>> {
    Ok(load()?.map(|policy| policy.decide_registry(reference)).transpose()?)
}

/// Checks an archive of docker, for which the format has no scopes (containers-policy.json(5)).
pub(super) fn check_docker_archive(path: &Path) -> anyhow::Result<()> {
    check("docker-archive", &[], &path.display().to_string())
}

/// Checks an image in the store of podman: its full name, the names above, and the store are scopes.
pub(super) fn check_storage(root: &Path, name: Option<&str>) -> anyhow::Result<()> {
    let (store, any_driver) = (format!("[overlay@{}]", root.display()), format!("[{}]", root.display()));
    let repository = name.map(|name| name.rsplit_once(':').map_or(name, |(repository, _)| repository));
    let mut scopes: Vec<_> = name.map(|name| format!("{store}{name}")).into_iter().collect();
    let mut rest = repository;
    while let Some(scope) = rest {
        scopes.push(format!("{store}{scope}"));
        rest = scope.rsplit_once('/').map(|(above, _)| above);
    }
    scopes.extend([store, any_driver]);
    check("containers-storage", &scopes, name.unwrap_or_default())
}

/// Returns the policy file that images are accepted by, if there is one.
pub(super) fn file() -> anyhow::Result<Option<PathBuf>> {
    Ok(load()?.map(|policy| policy.path().to_owned()))
}
