//! certs.d: certificate authorities and client certificates of single registries.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::text_file;

/// Paths of the certificates for one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCertificates {
    /// Certificates of authorities, `*.crt`, which are trusted in addition to those of the system.
    pub authorities: Vec<PathBuf>,
    /// Certificate and key that the client shows, `*.cert` and `*.key`.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The error of a directory below certs.d.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The directory or a file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Path of the directory or file.
        path: PathBuf,
        /// Error of the kernel.
        source: io::Error,
    },
    /// A certificate lacks its key, or a key its certificate.
    #[error("{} is missing: {} needs it", missing.display(), path.display())]
    Incomplete {
        /// Path of the existing file.
        path: PathBuf,
        /// Path of the missing file.
        missing: PathBuf,
    },
    /// A file has no certificate or key in PEM form.
    #[error("{} cannot be used: {reason}", path.display())]
    Invalid {
        /// Path of the file.
        path: PathBuf,
        /// Reason of the TLS library.
        reason: String,
    },
}

/// Returns the certificates for a host with its port, as in a reference, from the first directory that has the host.
///
/// # Errors
///
/// If the directory cannot be read, or if a client certificate has no key.
pub fn find(dirs: &[PathBuf], host: &str) -> Result<HostCertificates, CertificateError> {
    // The name of a directory, not a path.
    if host.contains('/') || host.starts_with('.') {
        return Ok(HostCertificates::default());
    }
    for dir in dirs {
        let dir = dir.join(host);
        match fs::read_dir(&dir) {
            Ok(entries) => return in_dir(&dir, entries),
            Err(error) if text_file::is_missing(&error) => {}
            // A directory that cannot be read is skipped by none of the other clients either.
            Err(source) => return Err(CertificateError::Read { path: dir, source }),
        }
    }
    Ok(HostCertificates::default())
}

fn in_dir(dir: &Path, entries: fs::ReadDir) -> Result<HostCertificates, CertificateError> {
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| CertificateError::Read { path: dir.to_owned(), source })?;
        files.push(entry.path());
    }
    files.sort();
    let mut found = HostCertificates::default();
    for path in &files {
        let counterpart = |extension: &str| {
            let other = path.with_extension(extension);
            let missing = || CertificateError::Incomplete { path: path.clone(), missing: other.clone() };
            if files.contains(&other) { Ok(other.clone()) } else { Err(missing()) }
        };
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => found.authorities.push(path.clone()),
            Some("cert") => {
                let key = counterpart("key")?;
                found.client.get_or_insert((path.clone(), key));
            }
            Some("key") => drop(counterpart("cert")?),
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_directory_with_the_host_is_used() {
        let root = tempfile::tempdir().expect("a directory");
        let dirs = ["user", "system"].map(|name| root.path().join(name));
        fs::create_dir_all(dirs[0].join("h.x")).expect("a directory");
        fs::create_dir_all(dirs[1].join("h.x:5000")).expect("a directory");
        for name in ["b.crt", "a.crt", "c.cert", "c.key", "notes"] {
            fs::write(dirs[1].join("h.x:5000").join(name), "").expect("a file");
        }
        assert_eq!(find(&dirs, "h.x").expect("a directory"), HostCertificates::default());
        let found = find(&dirs, "h.x:5000").expect("a directory");
        let path = |name: &str| dirs[1].join("h.x:5000").join(name);
        assert_eq!(found.authorities, [path("a.crt"), path("b.crt")]);
        assert_eq!(found.client, Some((path("c.cert"), path("c.key"))));
        assert_eq!(find(&dirs, "..").expect("no directory"), HostCertificates::default());
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("h.x");
        fs::create_dir(&dir).expect("a directory");
        let message = || find(&[root.path().to_owned()], "h.x").expect_err("a missing file").to_string();
        fs::write(dir.join("a.cert"), "").expect("a file");
        assert!(message().contains("a.key is missing"), "{}", message());
        fs::rename(dir.join("a.cert"), dir.join("a.key")).expect("a file");
        assert!(message().contains("a.cert is missing"), "{}", message());
    }
}
