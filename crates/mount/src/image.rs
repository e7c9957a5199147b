//! The image, opened once: what is measured, read and mounted is this one descriptor.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt as _};
use std::path::{Path, PathBuf};

use libcomposefs_image::erofs::header::Header;
use libcomposefs_image::erofs::read::{Defect, Head};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_sys::input::{self, OpenError};
use libcomposefs_sys::verity::{Measured, Measurement, measure, read_signature, verifies_signatures};

use crate::error::{Error, MEASURING, NotSigned};
use crate::options::Options;

/// An image that is open for reading.
#[derive(Debug)]
pub struct ImageFile {
    file: File,
    path: PathBuf,
}

impl ImageFile {
    /// Opens the image at `path` for reading: a regular file or a block device. Anything else is refused without being
    /// opened.
    ///
    /// # Errors
    ///
    /// [`Error::OpenImage`], [`Error::NotAFile`]
    pub fn open(path: &Path) -> Result<Self, Error> {
        let image = path.to_owned();
        match input::open_seekable(path) {
            Ok(file) => Ok(Self { file, path: image }),
            Err(OpenError::Io(source)) => Err(Error::OpenImage { image, source }),
            Err(OpenError::NotAFile(found)) => Err(Error::NotAFile { image, found }),
        }
    }

    /// An image that is already open for reading; `name` is for messages.
    #[must_use]
    pub fn from_fd(fd: OwnedFd, name: &Path) -> Self {
        Self { file: fd.into(), path: name.to_owned() }
    }

    /// Returns the path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the composefs header, and checks the EROFS superblock after it: the kernel mounts what is cut off or has
    /// features that no composefs image needs, and fails later.
    ///
    /// # Errors
    ///
    /// [`Error::ReadImage`] if it cannot be read, [`Error::NotAnImage`] if the file begins otherwise,
    /// [`Error::BadImage`] if the superblock breaks a rule.
    pub fn header(&self) -> Result<Header, Error> {
        let mut bytes = [0; Head::LEN];
        let mut len = 0;
        while len < Head::LEN {
            match self.file.read_at(&mut bytes[len..], len as u64) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.unreadable("reading the header", source)),
            }
        }
        let file_len = self.len().map_err(|source| self.unreadable("finding the length", source))?;
        let image = || self.path.clone();
        Head::parse(&bytes[..len], file_len).map(|head| head.header).map_err(|error| match error.defect {
            Defect::Header(source) => Error::NotAnImage { image: image(), source },
            _ => Error::BadImage { image: image(), source: Box::new(error) },
        })
    }

    /// The length of the file or device.
    fn len(&self) -> io::Result<u64> {
        let metadata = self.file.metadata()?;
        if !metadata.file_type().is_block_device() {
            return Ok(metadata.len());
        }
        // The position may be shared with the caller who gave the descriptor.
        let mut file = &self.file;
        let position = file.stream_position()?;
        let len = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(position)).map(|_| len)
    }

    /// Demands that the kernel checks every read of the image against `expected`.
    ///
    /// The digest is the kernel's, never computed here: a digest that we computed would say nothing of what the kernel
    /// reads later.
    ///
    /// # Errors
    ///
    /// [`Error::NoVerity`], [`Error::WrongVerity`], [`Error::ReadImage`]
    pub fn check_digest(&self, expected: &Digest) -> Result<(), Error> {
        let measured = measure(&self.file).map_err(|source| self.unreadable(MEASURING, source))?;
        let no_verity = |supported| Err(Error::NoVerity { image: self.path.clone(), expected: *expected, supported });
        match measured {
            Measurement::NotEnabled => no_verity(true),
            Measurement::Unsupported => no_verity(false),
            Measurement::Refused(errno) => Err(self.unreadable(MEASURING, errno.into())),
            Measurement::Digest(measured) if is(&measured, expected) => Ok(()),
            Measurement::Digest(measured) => {
                let found = format!("the kernel measured {}", shown(&measured));
                Err(Error::WrongVerity { image: self.path.clone(), expected: *expected, found })
            }
        }
    }

    /// Returns the digest that the kernel checks every read of the image against.
    ///
    /// # Errors
    ///
    /// [`Error::NotJudged`] if the image has no fs-verity, [`Error::ReadImage`]
    pub fn kernel_digest(&self) -> Result<Digest, Error> {
        match measure(&self.file).map_err(|source| self.unreadable(MEASURING, source))? {
            Measurement::Refused(errno) => Err(self.unreadable(MEASURING, errno.into())),
            Measurement::Digest(measured) => {
                let algorithm = u8::try_from(measured.algorithm).ok().and_then(Algorithm::from_kernel_number);
                let digest = algorithm.and_then(|algorithm| Digest::new(algorithm, &measured.digest));
                digest.ok_or_else(|| self.not_judged("its fs-verity has an algorithm that no policy knows"))
            }
            Measurement::NotEnabled | Measurement::Unsupported => {
                Err(self.not_judged("it has no fs-verity, and could change after it was judged"))
            }
        }
    }

    fn not_judged(&self, reason: &'static str) -> Error {
        Error::NotJudged { image: self.path.clone(), reason }
    }

    /// Demands what the options say of the image: its digest, a signature, and that a policy has judged it.
    ///
    /// # Errors
    ///
    /// Those of [`ImageFile::check_digest`] and [`ImageFile::check_signature`]; [`Error::NotJudged`]
    pub fn check(&self, options: &Options) -> Result<(), Error> {
        if options.policy().is_some() {
            return Err(self.not_judged("this program asks no policy"));
        }
        if let Some(digest) = options.digest() {
            self.check_digest(digest)?;
        }
        if options.is_signed() { self.check_signature() } else { Ok(()) }
    }

    /// Demands that the kernel has verified a signature of the image, by a key in its keyring `.fs-verity`. It does so
    /// when a file with a signature is opened.
    ///
    /// # Errors
    ///
    /// [`Error::NotSigned`], [`Error::ReadImage`]
    pub fn check_signature(&self) -> Result<(), Error> {
        let refuse = |reason| Err(Error::NotSigned { image: self.path.clone(), reason });
        if !verifies_signatures() {
            return refuse(NotSigned::Kernel);
        }
        match read_signature(&self.file) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => refuse(NotSigned::File),
            Err(source) => Err(self.unreadable("reading the signature of fs-verity", source)),
        }
    }

    fn unreadable(&self, doing: &'static str, source: io::Error) -> Error {
        Error::ReadImage { image: self.path.clone(), doing, source }
    }
}

impl AsFd for ImageFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Algorithm and bytes both count.
fn is(measured: &Measured, expected: &Digest) -> bool {
    measured.algorithm == u16::from(expected.algorithm().kernel_number()) && measured.digest == expected.as_bytes()
}

/// The measured digest for a message, also one of an algorithm that composefs does not use.
fn shown(measured: &Measured) -> String {
    let digest = u8::try_from(measured.algorithm)
        .ok()
        .and_then(Algorithm::from_kernel_number)
        .and_then(|algorithm| Digest::new(algorithm, &measured.digest));
    digest.map_or_else(
        || format!("a digest of {} bytes by hash algorithm {}", measured.digest.len(), measured.algorithm),
        |digest| format!("{digest:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_agree_in_algorithm_and_bytes() {
        let expected = Digest::from_hex("ab".repeat(32)).unwrap();
        let same = Measured { algorithm: 1, digest: vec![0xab; 32] };
        assert!(is(&same, &expected));
        assert!(!is(&Measured { algorithm: 2, ..same.clone() }, &expected));
        assert!(!is(&Measured { digest: vec![0xab; 31], ..same.clone() }, &expected));
        assert!(!is(&Measured { digest: vec![0xac; 32], ..same.clone() }, &expected));
        assert_eq!(shown(&same), format!("sha256:{}", "ab".repeat(32)));
        assert_eq!(shown(&Measured { algorithm: 9, digest: vec![0; 3] }), "a digest of 3 bytes by hash algorithm 9");
        let long = Measured { algorithm: 2, digest: vec![0xcd; 64] };
        assert!(is(&long, &Digest::from_hex("cd".repeat(64)).unwrap()));
    }

    #[test]
    fn what_is_no_image_is_told() {
        let message = ImageFile::open(Path::new("/dev/null")).unwrap_err().to_string();
        assert!(message.starts_with("Failed to mount composefs /dev/null: Invalid argument"), "{message}");
        let directory = ImageFile::open(Path::new("/")).unwrap_err().to_string();
        assert!(directory.starts_with("Failed to mount composefs /: Is a directory"), "{directory}");
        let zero = ImageFile::from_fd(File::open("/dev/zero").unwrap().into(), Path::new("zero"));
        assert!(matches!(zero.header(), Err(Error::NotAnImage { .. })));
        assert!(matches!(ImageFile::open(Path::new("/nonexistent")), Err(Error::OpenImage { .. })));
        let missing = zero.check_digest(&Digest::from_hex("ab".repeat(32)).unwrap());
        assert!(matches!(missing, Err(Error::NoVerity { supported: false, .. })), "{missing:?}");
        assert!(matches!(zero.check_signature(), Err(Error::NotSigned { .. })));
    }
}
