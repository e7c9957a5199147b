//! Names that OCI images may get: what a command would take for something else is refused.

use std::ffi::OsStr;

use libcomposefs_image::Digest;
use libcomposefs_oci::BlobDigest;
use libcomposefs_repo::StreamTag;

use super::source;

/// Parses a name that an image is to get. Names that a repository has already are not limited in this way: other
/// programs write them too.
pub(super) fn parse(text: &str) -> Result<StreamTag, String> {
    let name: StreamTag = text.parse().map_err(|error: libcomposefs_repo::InvalidStreamName| error.to_string())?;
    match other_meaning(text) {
        None => Ok(name),
        Some(rule) => Err(format!("{text:?} cannot be the name of an OCI image: {rule}; choose another name")),
    }
}

/// Returns what else a text means in a command that takes names of OCI images.
fn other_meaning(text: &str) -> Option<&'static str> {
    if text.parse::<BlobDigest>().is_ok() {
        Some("commands take it for the digest of a manifest")
    } else if text.parse::<Digest>().is_ok() {
        Some("commands take it for the digest of a composefs image")
    } else if source::has_transport(OsStr::new(text)) {
        Some("commands take it for a source with a transport")
    } else if text.starts_with('/') {
        Some("commands take it for a path, as it begins with a slash")
    } else if text.ends_with('/') {
        Some("commands take it for a directory, as it ends with a slash")
    } else if text.split('/').any(|part| part == "..") {
        Some("it has \"..\" as a part, as only a path has")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_else_is_no_new_name() {
        let (sha256, sha512) = ("0".repeat(64), "0".repeat(128));
        for refused in [
            &format!("sha256:{sha256}"),
            &sha256,
            &sha512,
            "oci:layout",
            "oci-archive:a.tar",
            "docker-archive:a.tar",
            "docker://debian:13",
            "containers-storage:debian",
            "repo:dir",
            "dir:a",
            "docker-daemon:a",
            "/abs",
            "a/../b",
            "a/..",
            "a/",
        ] {
            let error = parse(refused).unwrap_err();
            assert!(error.contains(refused) && error.contains("choose another name"), "{error}");
        }
        for accepted in [
            "debian:13",
            "docker.io/library/debian:13",
            "127.0.0.1:5000/app:2",
            &format!("docker.io/library/debian@sha256:{sha256}"),
            "sha256:abc",
            "docker:24",
            "a/b..c",
            "ocicopy:1",
        ] {
            assert_eq!(parse(accepted).unwrap().as_str(), accepted);
        }
    }
}
