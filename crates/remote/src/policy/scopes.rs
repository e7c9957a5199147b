//! Scopes of images, the most specific first.

use std::path::Path;

use crate::reference::Reference;

/// Returns the scopes of a reference: itself, its repository, the namespaces above, the host, and wildcards for the
/// domains above the host.
///
/// With a digest and a tag, the scope with the digest goes first, then the one with the tag.
#[must_use]
pub fn registry_scopes(reference: &Reference) -> Vec<String> {
    let name = reference.name();
    let mut scopes = Vec::new();
    scopes.extend(reference.digest().map(|digest| format!("{name}@{digest}")));
    scopes.extend(reference.tag().map(|tag| format!("{name}:{tag}")));
    let mut rest = Some(name.as_str());
    while let Some(scope) = rest {
        scopes.push(scope.to_owned());
        rest = scope.rsplit_once('/').map(|(above, _)| above);
    }
    // Wildcards have no port.
    let mut domain = reference.host().split(':').next().unwrap_or_default();
    while let Some((_, above)) = domain.split_once('.') {
        scopes.push(format!("*.{above}"));
        domain = above;
    }
    scopes
}

/// Returns the scopes of an absolute path, with the tag in it if there is one: with the tag, without, and the
/// directories above except `/`.
#[must_use]
pub fn path_scopes(path: &Path, tag: Option<&str>) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let with_tag = tag.map(|tag| format!("{}:{tag}", text(path)));
    with_tag.into_iter().chain(path.ancestors().filter(|path| path.parent().is_some()).map(text)).collect()
}
