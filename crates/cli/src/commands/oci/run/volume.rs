//! Parses the values of `--volume` and `--tmpfs`.

use std::path::PathBuf;

use libcomposefs_oci::runtime::{BindMount, TmpfsMount};

/// Options of podman that are mount options of the runtime. Without `shared` and `rshared`: the mounts of the container
/// cannot reach the host, whose mount namespace is another one.
const BIND_OPTIONS: [&str; 14] = [
    "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "bind", "rbind", "private", "rprivate", "slave",
    "rslave",
];

/// Parses `SOURCE:DIR[:OPTIONS]`.
pub(super) fn parse_bind(text: &str) -> Result<BindMount, String> {
    let mut parts = text.split(':');
    let (source, destination, options) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(source), Some(destination), options, None) => (source, destination, options.unwrap_or_default()),
        _ => return Err("expected SOURCE:DIR or SOURCE:DIR:OPTIONS".to_owned()),
    };
    if !source.starts_with('/') {
        return Err(format!("{source:?} is no absolute path: volumes with a name need podman"));
    }
    let mut flags = Vec::new();
    for option in options.split(',').filter(|option| !option.is_empty()) {
        if !BIND_OPTIONS.contains(&option) {
            return Err(format!("unknown option {option:?}: use {}", BIND_OPTIONS.join(", ")));
        }
        if !matches!(option, "bind" | "rbind") {
            flags.push(option.to_owned());
        }
    }
    if ["ro", "rw"].iter().all(|option| flags.iter().any(|flag| flag == option)) {
        return Err("ro and rw contradict each other".to_owned());
    }
    Ok(BindMount { source: PathBuf::from(source), destination: destination.to_owned(), options: flags })
}

/// Parses `DIR[:OPTIONS]`.
pub(super) fn parse_tmpfs(text: &str) -> Result<TmpfsMount, String> {
    let (destination, options) = text.split_once(':').unwrap_or((text, ""));
    if !destination.starts_with('/') {
        return Err(format!("{destination:?} is no absolute path"));
    }
    let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    Ok(TmpfsMount { destination: destination.to_owned(), options })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_parsed_or_refused() {
        let bind = |options: &[&str]| BindMount {
            source: "/a".into(),
            destination: "/b".into(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
        };
        assert_eq!(parse_bind("/a:/b"), Ok(bind(&[])));
        assert_eq!(parse_bind("/a:/b:"), Ok(bind(&[])));
        assert_eq!(parse_bind("/a:/b:ro,rbind,nosuid"), Ok(bind(&["ro", "nosuid"])));
        for text in ["", "/a", "/a:/b:ro:x", "/a:/b:Z", "/a:/b:ro rw", "/a:/b:rshared", "/a:/b:ro,rw"] {
            assert!(parse_bind(text).is_err(), "{text:?}");
        }
        let error = parse_bind("data:/b").unwrap_err();
        assert_eq!(error, "\"data\" is no absolute path: volumes with a name need podman");
    }

    #[test]
    fn tmpfs_is_parsed_or_refused() {
        let parsed = parse_tmpfs("/t:size=1m,noexec").unwrap();
        assert_eq!((parsed.destination.as_str(), parsed.options.join(" ").as_str()), ("/t", "size=1m noexec"));
        assert_eq!(parse_tmpfs("/t").unwrap().options, Vec::<String>::new());
        assert!(parse_tmpfs("t").is_err());
    }
}
