//! What the user asks of a mount.

use std::fmt;
use std::path::{Path, PathBuf};

use libcomposefs_image::Digest;

use crate::error::Error;
use crate::flags::Attributes;
use crate::readahead::ReadAhead;

/// What overlayfs checks when a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verity {
    /// Nothing.
    #[default]
    Off,
    /// Files whose digest the image records: the object must have it (`verity=on`).
    Check,
    /// The image must record a digest for every file, and the object must have it (`verity=require`).
    Require,
    /// [`Verity::Require`] on a kernel whose overlayfs can do it (Linux 6.6), else nothing.
    RequireIfSupported,
}

impl Verity {
    /// The value of the overlayfs option `verity`, if it is to be set at all.
    #[must_use]
    pub fn overlay_value(self) -> Option<&'static str> {
        match self {
            Verity::Off => None,
            Verity::Check => Some("on"),
            Verity::Require | Verity::RequireIfSupported => Some("require"),
        }
    }
}

impl fmt::Display for Verity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verity::Off => "off",
            Verity::Check => "on",
            Verity::Require => "require",
            Verity::RequireIfSupported => "require if the kernel can",
        })
    }
}

/// The writable layer of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpperDir {
    /// Where changes go.
    pub dir: PathBuf,
    /// An empty directory on the same file system that overlayfs works in.
    pub work: PathBuf,
}

/// Everything the option text of a mount can say.
///
/// What is verified is private: once the options exist it can only be strengthened, by [`Options::demand`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The object directories, searched in this order. At least one.
    pub basedirs: Vec<PathBuf>,
    digest: Option<Digest>,
    verity: Verity,
    /// The value of `verity_check=` if it asks for less than [`Verity::Require`].
    asked_for_less: Option<u8>,
    /// The writable layer, if any.
    pub upper: Option<UpperDir>,
    /// The file of a user namespace (`/proc/PID/ns/user`) whose mapping shifts the owners in the image.
    pub idmap: Option<PathBuf>,
    /// Read-only or not, and the generic mount options.
    pub attributes: Attributes,
    /// How much of the image is read at mount.
    pub read_ahead: ReadAhead,
    /// A missing image is no failure. The library leaves that to its caller.
    pub nofail: bool,
}

impl Options {
    /// Options as the user gives them: the object directories, the digest that the image must have, and what is
    /// checked of the files.
    #[must_use]
    pub fn new(basedirs: Vec<PathBuf>, digest: Option<Digest>, verity: Verity) -> Self {
        Self { basedirs, digest, verity, ..Self::default() }
    }

    /// Records that the option text has `verity_check=` with this value.
    pub(crate) fn with_verity_check(self, check: Option<u8>) -> Self {
        Self { asked_for_less: check.filter(|check| *check < 2), ..self }
    }

    /// The fs-verity digest that the image must have.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What is checked of the files.
    #[must_use]
    pub fn verity(&self) -> Verity {
        self.verity
    }

    /// Compares the digest that the user demands, if any, with the one under which `image` was found.
    ///
    /// # Errors
    ///
    /// [`Error::WrongVerity`] if they differ.
    pub fn expect(&self, image: &Path, found: &Digest) -> Result<(), Error> {
        match self.digest {
            Some(expected) if expected != *found => {
                Err(Error::WrongVerity { image: image.to_owned(), expected, found: format!("this image is {found:?}") })
            }
            _ => Ok(()),
        }
    }

    /// Demands that the kernel has `digest` for `image` and verifies every file. What the user demands stays: a
    /// contradiction is an error.
    ///
    /// # Errors
    ///
    /// [`Error::WrongVerity`] if the user demands another digest, [`Error::Contradiction`] if `verity_check=` asks for
    /// less.
    pub fn demand(&mut self, image: &Path, digest: &Digest) -> Result<(), Error> {
        self.expect(image, digest)?;
        if let Some(check) = self.asked_for_less {
            return Err(Error::Contradiction { image: image.to_owned(), check });
        }
        self.digest = Some(*digest);
        self.verity = Verity::Require;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::parse::{UnknownOptions, parse};

    fn options(more: &str) -> Options {
        parse(OsStr::new(&format!("basedir=o{more}")), UnknownOptions::Refuse).unwrap()
    }

    #[test]
    fn a_demand_only_strengthens() {
        let image = Path::new("IMG");
        let [digest, other] = ["ab", "cd"].map(|byte| Digest::from_hex(byte.repeat(32)).unwrap());
        let long = Digest::from_hex("ab".repeat(64)).unwrap();
        for more in ["", ",verity", ",tryverity", ",verity_check=2", &format!(",digest={digest}")] {
            let mut options = options(more);
            options.demand(image, &digest).unwrap();
            assert_eq!((options.digest(), options.verity()), (Some(&digest), Verity::Require), "{more}");
            // A second demand is compared too.
            assert!(matches!(options.demand(image, &other), Err(Error::WrongVerity { .. })), "{more}");
        }
        for wrong in [&other, &long] {
            let mut options = options(&format!(",digest={wrong}"));
            let before = options.clone();
            let error = options.demand(image, &digest).unwrap_err();
            assert_eq!(error.kind(), "wrong-verity");
            let text = error.to_string();
            assert!(text.contains(&format!("{wrong:?}")) && text.contains(&format!("{digest:?}")), "{text}");
            assert_eq!(options, before);
            assert!(options.expect(image, &digest).is_err());
            options.expect(image, wrong).unwrap();
        }
    }

    #[test]
    fn who_asks_for_less_is_told_of_the_contradiction() {
        let digest = Digest::from_hex("ab".repeat(32)).unwrap();
        for (more, check) in [(",verity_check=0", 0), (",verity_check=1", 1), (",verity_check=2,verity_check=0", 0)] {
            let mut options = options(more);
            let error = options.demand(Path::new("IMG"), &digest).unwrap_err();
            assert!(matches!(error, Error::Contradiction { check: found, .. } if found == check), "{error}");
            assert!(error.remedy().unwrap().contains("verity_check"));
            assert_eq!(options.digest(), None);
        }
        options(",verity_check=0,verity_check=2").demand(Path::new("IMG"), &digest).unwrap();
    }
}
