//! Names of a system from its `os-release`, as systemd-boot shows and sorts it.

use libcomposefs_image::derive::OsRelease;

use super::one_line;

/// Names of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemNames {
    /// Name for people.
    pub title: Option<String>,
    /// Version by which images of one system are sorted.
    pub version: Option<String>,
    /// Name of the system, which comes before its version in the order.
    pub sort_key: Option<String>,
}

impl SystemNames {
    /// Takes the names from the text of an `os-release`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let fields = OsRelease::parse(text.as_bytes());
        let first = |keys: &[&str]| keys.iter().find_map(|key| fields.get(key)).map(one_line);
        Self {
            title: first(&["PRETTY_NAME", "IMAGE_ID", "NAME", "ID"]),
            version: first(&["IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"]),
            sort_key: first(&["IMAGE_ID", "ID"]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_that_systemd_boot_takes() {
        let found = SystemNames::parse("NAME=x\nID=debian\nPRETTY_NAME=\"Debian\u{7} 13\"\nVERSION_ID='13'\n#ID=no\n");
        assert_eq!(found.title.as_deref(), Some("Debian  13"));
        assert_eq!((found.version.as_deref(), found.sort_key.as_deref()), (Some("13"), Some("debian")));
        assert_eq!(SystemNames::parse("ID=\nXID=a\nnothing"), SystemNames::default());
    }
}
