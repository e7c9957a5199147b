//! Messages for what a user should know about an image.

use libcomposefs_oci::layer::LayerWarning;
use libcomposefs_oci::manifest::Platform;
use libcomposefs_oci::pull::{PullWarning, PulledImage};
use libcomposefs_oci::stored::StoredImage;
use libcomposefs_repo::Repository;

/// Number of warnings that are printed.
const SHOWN: usize = 20;

/// Prints the warnings of a pull.
pub(crate) fn tell(warnings: &[PullWarning]) {
    for warning in warnings.iter().take(SHOWN) {
        tell!("composefs: warning: {}", text(warning));
    }
    if warnings.len() > SHOWN {
        tell!("composefs: warning: and {} more like these", warnings.len() - SHOWN);
    }
}

/// Returns the warning about an image that is for another platform than this machine, if it is.
pub(super) fn other_platform(repository: &Repository, pulled: &PulledImage) -> Option<String> {
    // What cannot be read is reported when the image is used.
    let config = StoredImage::by_digest(repository, &pulled.manifest).ok()?.config.parsed;
    let found =
        Platform { os: config.os().to_string(), architecture: config.architecture().to_string(), variant: None };
    let machine = Platform::of_machine();
    let text = || format!("the image is for {found}, and this machine is {machine}: its programs may not run here");
    (found != machine).then(text)
}

/// Returns a warning as text.
pub(crate) fn text(warning: &PullWarning) -> String {
    match warning {
        PullWarning::Layer(LayerWarning::RemovedOwnEntry { layer, path }) => format!(
            "layer {}: the whiteout {path:?} removes an entry of its own layer, as in cfsctl; by the OCI specification \
             it would hide only lower layers: --whiteouts=spec does that",
            layer + 1
        ),
        PullWarning::Garbage(blob) => {
            format!("blob {blob}: bytes that are no part of the archive follow it; they are ignored")
        }
        PullWarning::Replaced { diff_id, reason } => {
            format!("layer {diff_id} of the repository could not be used, and was pulled again: {reason}")
        }
        PullWarning::Unchecked { key, layers: 0 } => {
            format!("the annotation {key} of the manifest was not checked: the pull does not compute this digest")
        }
        PullWarning::Unchecked { key, layers } => format!(
            "the annotation {key} of {layers} layers was not checked: the pull does not compute digests of layers"
        ),
        PullWarning::OtherDigest { key, expected, found } => format!(
            "the annotation {key} of the manifest has the digest {expected}, but the image has {found}: it is that of \
             another image, such as the base of this one"
        ),
        PullWarning::NotPartial { blob, reason } => {
            format!("blob {blob} could not be fetched in parts, and was read whole: {reason}")
        }
        PullWarning::Table(reason) => format!(
            "the table of contents for partial pulls, cache/contents in the repository, cannot be written: {reason}; \
             the next pull may fetch more than is missing"
        ),
        _ => "the image has something unusual".to_owned(),
    }
}
