//! Signed statements about images, in `signatures/` (`docs/format/trust.md`, section 5). What they say and who signed
//! them is not looked at here.

mod collect;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;

use libcomposefs_image::Digest;
use libcomposefs_sys::resolve_beneath::open_beneath;
use libcomposefs_sys::tempfile::Temporary;
use rustix::fs::{Dir, FileType, fstat, fsync};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

pub use self::collect::SignatureReport;
use crate::layout::SIGNATURES;
use crate::{IMAGE_SIGNATURES_MAX, Repository, RepositoryError, SIGNATURE_FILE_MAX, SignatureFileProblem, io_error};

/// Endings of the two files of a signature.
const STATEMENT: &str = ".statement";
const SSH: &str = ".ssh";
/// Ending of the file of a PKCS#7 signature, and how the file begins.
const PKCS7: &str = ".p7s";
const PKCS7_BEGIN: &[u8] = b"-----BEGIN PKCS7-----";

/// A signature of OpenSSH with the statement that it signs, or a PKCS#7 signature with the digest that it signs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredSignature {
    /// The bytes of the statement.
    pub statement: Vec<u8>,
    /// The bytes of the signature.
    pub signature: Vec<u8>,
}

impl StoredSignature {
    /// Returns true if the signature is one of PKCS#7, in PEM.
    #[must_use]
    pub fn is_pkcs7(&self) -> bool {
        self.signature.starts_with(PKCS7_BEGIN)
    }

    /// Returns the names of the two files in the directory of the image's signatures: of the statement, and of the
    /// signature.
    #[must_use]
    pub fn file_names(&self) -> [String; 2] {
        let stem = self.stem();
        let ending = if self.is_pkcs7() { PKCS7 } else { SSH };
        [format!("{stem}{STATEMENT}"), format!("{stem}{ending}")]
    }

    /// Returns the common part of the names of the two files, which depends on both: another statement beside the same
    /// signature must not take the place of the right one.
    fn stem(&self) -> String {
        let digest = Sha256::new().chain_update(&self.signature).chain_update(&self.statement).finalize();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns the directory of the signatures of an image.
fn directory_of(digest: &Digest) -> String {
    format!("{SIGNATURES}/{digest}")
}

impl Repository {
    /// Returns the signatures of an image, which need not be in the repository.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, is no regular file, is larger than [`SIGNATURE_FILE_MAX`], or has no statement, or if
    /// there are more than [`IMAGE_SIGNATURES_MAX`].
    pub fn signatures(&self, digest: &Digest) -> Result<Vec<StoredSignature>, RepositoryError> {
        let path = directory_of(digest);
        let Some(directory) = self.dir.open_dir(&path)? else { return Ok(Vec::new()) };
        let mut stems = Vec::new();
        for entry in Dir::read_from(&directory).map_err(io_error("read the directory", self.dir.path.join(&path)))? {
            let entry = entry.map_err(io_error("read the directory", self.dir.path.join(&path)))?;
            let name = entry.file_name().to_str().unwrap_or_default();
            let stem = |ending| Some((name.strip_suffix(ending)?.to_owned(), ending));
            stems.extend(stem(SSH).or_else(|| stem(PKCS7)));
            if stems.len() > IMAGE_SIGNATURES_MAX {
                return Err(self.wrong_signature(path, SignatureFileProblem::TooMany));
            }
        }
        stems.sort();
        let read = |(stem, ending): (String, &str)| {
            let signature = self.read_signature_file(directory.as_fd(), &path, &format!("{stem}{ending}"))?;
            let statement = self.read_signature_file(directory.as_fd(), &path, &format!("{stem}{STATEMENT}"))?;
            Ok(StoredSignature { statement, signature })
        };
        stems.into_iter().map(read).collect()
    }

    /// Reads the signatures of all images, and returns the errors: each stops what needs the signatures of its image.
    ///
    /// # Errors
    ///
    /// If the directory of all signatures cannot be read.
    pub fn check_signatures(&self) -> Result<Vec<RepositoryError>, RepositoryError> {
        let Some(directory) = self.dir.open_dir(SIGNATURES)? else { return Ok(Vec::new()) };
        let images = self.signed_images(directory.as_fd())?;
        Ok(images.iter().filter_map(|digest| self.signatures(digest).err()).collect())
    }

    fn read_signature_file(
        &self,
        directory: BorrowedFd<'_>,
        above: &str,
        name: &str,
    ) -> Result<Vec<u8>, RepositoryError> {
        let path = format!("{above}/{name}");
        let failed = |errno| io_error("read", self.dir.path.join(&path))(errno);
        let opened = match open_beneath(directory, name.as_bytes()) {
            Ok(opened) => opened,
            // A symlink, which is not followed.
            Err(Errno::LOOP) => return Err(self.wrong_signature(path, SignatureFileProblem::NotRegular)),
            Err(Errno::NOENT) => return Err(self.wrong_signature(path, SignatureFileProblem::Missing)),
            Err(errno) => return Err(failed(errno)),
        };
        let stat = fstat(&opened).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.wrong_signature(path, SignatureFileProblem::NotRegular));
        }
        let mut bytes = Vec::new();
        let read = File::from(opened).take(SIGNATURE_FILE_MAX + 1).read_to_end(&mut bytes);
        read.map_err(|source| RepositoryError::Io { step: "read", path: self.dir.path.join(&path), source })?;
        if bytes.len() as u64 > SIGNATURE_FILE_MAX {
            return Err(self.wrong_signature(path, SignatureFileProblem::TooLarge));
        }
        Ok(bytes)
    }

    fn wrong_signature(&self, path: String, problem: SignatureFileProblem) -> RepositoryError {
        RepositoryError::SignatureFile { path: self.dir.path.join(path), problem }
    }

    /// Adds a signature of an image, which need not be in the repository. It is on disk when this returns. Returns
    /// false if it was there already.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or one of its parts is larger than [`SIGNATURE_FILE_MAX`].
    pub fn add_signature(&self, digest: &Digest, added: &StoredSignature) -> Result<bool, RepositoryError> {
        self.expect_writable()?;
        let path = directory_of(digest);
        if added.statement.len().max(added.signature.len()) as u64 > SIGNATURE_FILE_MAX {
            return Err(self.wrong_signature(path, SignatureFileProblem::TooLarge));
        }
        let present = self.signatures(digest)?;
        if present.contains(added) {
            return Ok(false);
        }
        if present.len() >= IMAGE_SIGNATURES_MAX {
            return Err(self.wrong_signature(path, SignatureFileProblem::TooMany));
        }
        let directory = Arc::new(self.dir.make_dir(&path)?);
        let [statement, signature] = added.file_names();
        // The signature comes last: without its statement it would be an error.
        self.write_signature_file(&directory, &path, &statement, &added.statement)?;
        self.write_signature_file(&directory, &path, &signature, &added.signature)?;
        Ok(true)
    }

    fn write_signature_file(
        &self,
        directory: &Arc<OwnedFd>,
        above: &str,
        name: &str,
        content: &[u8],
    ) -> Result<(), RepositoryError> {
        let path = self.dir.path.join(above).join(name);
        let failed = |source: io::Error| RepositoryError::Io { step: "write", path: path.clone(), source };
        let temporary = Temporary::create(directory, 0o644).map_err(failed)?;
        let mut file = File::from(temporary.as_fd().try_clone_to_owned().map_err(failed)?);
        file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
        temporary.replace(directory.as_fd(), name).map_err(failed)?;
        fsync(&**directory).map_err(|errno| failed(errno.into()))
    }

    /// Adds the signatures that another repository has of an image. Returns the number of those that are new.
    ///
    /// # Errors
    ///
    /// If a signature cannot be read or written.
    pub fn copy_signatures(&self, other: &Repository, digest: &Digest) -> Result<usize, RepositoryError> {
        let mut new = 0;
        for signature in other.signatures(digest)? {
            new += usize::from(self.add_signature(digest, &signature)?);
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use libcomposefs_image::Algorithm;

    use super::*;
    use crate::{Format, GcOptions, Settings};

    fn repository(path: &std::path::Path) -> Repository {
        let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::default() };
        Repository::init(path, settings).unwrap().0
    }

    fn signature(text: &str) -> StoredSignature {
        StoredSignature { statement: b"statement".to_vec(), signature: text.as_bytes().to_vec() }
    }

    fn digest() -> Digest {
        Digest::from_hex("ab".repeat(32)).unwrap()
    }

    #[test]
    fn signatures_are_added_read_and_copied_once() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (repository(&dir.path().join("1")), repository(&dir.path().join("2")));
        assert_eq!(one.signatures(&digest()).unwrap(), []);
        assert!(one.add_signature(&digest(), &signature("a")).unwrap());
        assert!(!one.add_signature(&digest(), &signature("a")).unwrap());
        assert!(one.add_signature(&digest(), &signature("b")).unwrap());
        let mut found = one.signatures(&digest()).unwrap();
        found.sort();
        assert_eq!(found, [signature("a"), signature("b")]);
        assert_eq!(two.copy_signatures(&one, &digest()).unwrap(), 2);
        assert_eq!(two.copy_signatures(&one, &digest()).unwrap(), 0);
        assert_eq!(two.signatures(&digest()).unwrap(), one.signatures(&digest()).unwrap());
        // The same signature beside another statement.
        let other = StoredSignature { statement: b"another".to_vec(), ..signature("a") };
        assert!(two.add_signature(&digest(), &other).unwrap());
        let both = two.signatures(&digest()).unwrap();
        assert!(both.len() == 3 && both.contains(&signature("a")) && both.contains(&other));
    }

    #[test]
    fn wrong_files_are_errors_that_name_them() {
        let dir = tempfile::tempdir().unwrap();
        let repository = repository(&dir.path().join("repository"));
        repository.add_signature(&digest(), &signature("a")).unwrap();
        let files = repository.path().join(directory_of(&digest()));
        fs::write(files.join("README"), "not looked at").unwrap();
        assert_eq!(repository.signatures(&digest()).unwrap().len(), 1);
        let refused = |name: &str, says: &str| {
            let error = repository.signatures(&digest()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(says), "{error}");
            fs::remove_file(files.join(name)).unwrap();
            fs::remove_file(files.join("x.statement")).unwrap();
            assert_eq!(repository.signatures(&digest()).unwrap().len(), 1);
        };
        fs::write(files.join("x.statement"), "").unwrap();
        fs::write(files.join("x.ssh"), vec![0; SIGNATURE_FILE_MAX as usize + 1]).unwrap();
        refused("x.ssh", "more than 65536 bytes");
        fs::write(files.join("x.statement"), "").unwrap();
        symlink("README", files.join("x.ssh")).unwrap();
        refused("x.ssh", "not a regular file");
        fs::write(files.join("x.ssh"), "").unwrap();
        for (makes, says) in [(false, "x.statement is missing"), (true, "x.statement is not a regular file")] {
            if makes {
                symlink("gone", files.join("x.statement")).unwrap();
            }
            let error = repository.signatures(&digest()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert_eq!(repository.check_signatures().unwrap().len(), 1);
        }
        fs::remove_file(files.join("x.ssh")).unwrap();
        assert_eq!(repository.check_signatures().unwrap().len(), 0);
        let large = StoredSignature { statement: vec![0; SIGNATURE_FILE_MAX as usize + 1], signature: Vec::new() };
        assert!(repository.add_signature(&digest(), &large).is_err());
    }

    #[test]
    fn gc_removes_signatures_of_images_that_are_not_here() {
        let dir = tempfile::tempdir().unwrap();
        let repository = repository(&dir.path().join("repository"));
        repository.add_signature(&digest(), &signature("a")).unwrap();
        let directory = repository.path().join(directory_of(&digest()));
        let options = |dry_run, grace| GcOptions { dry_run, grace };
        let young = repository.collect_signatures(options(false, Duration::from_secs(3600))).unwrap();
        assert_eq!((young.young, young.removed.len(), directory.exists()), (1, 0, true));
        let dry = repository.collect_signatures(options(true, Duration::ZERO)).unwrap();
        assert_eq!((dry.removed.len(), directory.exists()), (1, true));
        let removed = repository.collect_signatures(options(false, Duration::ZERO)).unwrap();
        assert_eq!((removed.removed, directory.exists()), (vec![digest()], false));
        assert_eq!(repository.collect_signatures(options(false, Duration::ZERO)).unwrap(), SignatureReport::default());
    }
}
