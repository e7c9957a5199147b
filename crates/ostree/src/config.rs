//! Parsing the file `config` of a repository, without IO.

/// The way in which a repository stores contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As files with their metadata.
    Bare,
    /// As files whose metadata is in an xattr.
    BareUser,
    /// As files with canonical metadata: no owner, no xattrs.
    BareUserOnly,
    /// Compressed, after a header with the metadata.
    Archive,
}

/// The settings of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) mode: Mode,
    /// Path of another repository, for objects that are missing here.
    pub(crate) parent: Option<String>,
}

impl Config {
    /// Parses the text of the key file.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut in_core = false;
        let (mut mode, mut version, mut parent) = (None, None, None);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(group) = line.strip_prefix('[') {
                in_core = group.strip_suffix(']') == Some("core");
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| in_core) else { continue };
            match key.trim() {
                "mode" => mode = Some(value.trim().to_owned()),
                "repo_version" => version = Some(value.trim().to_owned()),
                "parent" => parent = Some(value.trim().to_owned()).filter(|parent| !parent.is_empty()),
                _ => {}
            }
        }
        if version.as_deref() != Some("1") {
            return Err(format!("repo_version is {}, expected 1", version.as_deref().unwrap_or("missing")));
        }
        let mode = match mode.as_deref() {
            Some("bare") => Mode::Bare,
            Some("bare-user") => Mode::BareUser,
            Some("bare-user-only") => Mode::BareUserOnly,
            Some("archive" | "archive-z2") => Mode::Archive,
            Some(other) => {
                return Err(format!("unsupported mode {other}, expected bare, bare-user, bare-user-only or archive"));
            }
            None => return Err("mode is missing".into()),
        };
        Ok(Self { mode, parent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_group_counts() {
        let config =
            Config::parse("[core]\nrepo_version=1\nmode=archive-z2\n\n[remote \"a\"]\nmode=bare\nparent=x\n").unwrap();
        assert_eq!(config, Config { mode: Mode::Archive, parent: None });
        let config = Config::parse("# own\n[core]\n mode = bare-user \nrepo_version=1\nparent=/srv/repo\n").unwrap();
        assert_eq!(config, Config { mode: Mode::BareUser, parent: Some("/srv/repo".into()) });
    }

    #[test]
    fn others_are_refused() {
        for wrong in
            ["", "[core]\nmode=bare\n", "[core]\nrepo_version=2\nmode=bare", "[core]\nrepo_version=1\n", "mode=bare"]
        {
            assert!(Config::parse(wrong).is_err(), "{wrong}");
        }
        let split = Config::parse("[core]\nrepo_version=1\nmode=bare-split-xattrs\n").unwrap_err();
        assert!(split.contains("bare-split-xattrs"), "{split}");
    }
}
