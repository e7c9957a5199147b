//! The names of the files that have further data of an image or a layer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The key of the table of contents of a layer that podman has pulled in parts.
pub(super) const TOC: &str = "zstd-chunked-manifest";

/// Returns the name of the file for a key: the key, or `=` and its base64.
pub(super) fn file_name(key: &str) -> String {
    if key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return key.to_owned();
    }
    format!("={}", STANDARD.encode(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_podman() {
        assert_eq!(file_name("manifest"), "manifest");
        assert_eq!(file_name(TOC), "=enN0ZC1jaHVua2VkLW1hbmlmZXN0");
    }
}
