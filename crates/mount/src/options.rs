//! The options of a mount.

use std::fmt;
use std::path::Path;

use libcomposefs_image::Digest;

use crate::error::Error;
use crate::flags::MountFlags;
use crate::path_or_fd::PathOrFd;
use crate::readahead::ReadAhead;

/// The check that overlayfs makes when a file is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verity {
    /// Files are not checked.
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
    /// The value of the overlayfs option `verity`, if the option is set at all.
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

/// The file system whose numbers `statfs(2)` returns for the mount, as `df` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatfsSource {
    /// The image: a file system as large as the image, and full. The C tool mounts so.
    #[default]
    Image,
    /// The file system of the objects, by an empty directory on it ([`Plan::statfs_dir`](crate::Plan::statfs_dir)).
    Objects,
}

/// The writable layer of a mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpperDir {
    /// The directory that changes are written to.
    pub dir: PathOrFd,
    /// An empty directory on the same file system that overlayfs works in.
    pub work: PathOrFd,
}

/// The options of a mount: built from values, or parsed from option text by [`Options::parse`].
///
/// Options that came from a user are strengthened with [`Options::demand`], which compares what the user demands.
///
/// # Examples
///
/// ```
/// use libcomposefs_image::Digest;
/// use libcomposefs_mount::{Options, Verity};
///
/// let digest = Digest::from_hex("cc3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f")?;
/// let options = Options::default().with_basedir("/srv/objects").with_digest(digest);
/// assert_eq!(options.digest(), Some(&digest));
/// assert_eq!(options.verity(), Verity::Require);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// An object directory may also be an open descriptor:
///
/// ```
/// use libcomposefs_mount::Options;
///
/// let objects = std::fs::File::open(".")?;
/// let options = Options::default().with_basedir(std::os::fd::OwnedFd::from(objects));
/// assert_eq!(options.basedirs[0].path(), None);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The object directories, searched in this order.
    pub basedirs: Vec<PathOrFd>,
    digest: Option<Digest>,
    signed: bool,
    /// The name that a trust policy must accept the image under. The mount is refused until a caller has judged it.
    policy: Option<String>,
    verity: Verity,
    /// The value of `verity_check=` if it asks for less than [`Verity::Require`].
    asked_for_less: Option<u8>,
    /// The writable layer, if any.
    pub upper: Option<UpperDir>,
    /// The file of a user namespace (`/proc/PID/ns/user`) whose mapping shifts the owners in the image.
    pub idmap: Option<PathOrFd>,
    /// The generic mount options, such as `ro` and `nosuid`.
    pub flags: MountFlags,
    /// The number of bytes of the image that are read at mount.
    pub read_ahead: ReadAhead,
    /// The file system whose numbers `statfs(2)` returns.
    pub statfs: StatfsSource,
    /// Set if a missing image is no failure. Only callers of this library evaluate it.
    pub nofail: bool,
}

impl Options {
    /// Adds an object directory, which is searched after those added before.
    #[must_use]
    pub fn with_basedir(mut self, dir: impl Into<PathOrFd>) -> Self {
        self.basedirs.push(dir.into());
        self
    }

    /// Sets the fs-verity digest that the image must have. As the option `digest=` does, it sets [`Verity::Require`]: a
    /// digest of the image says nothing about the objects unless each is verified.
    #[must_use]
    pub fn with_digest(self, digest: Digest) -> Self {
        Self { digest: Some(digest), verity: Verity::Require, ..self }
    }

    /// Demands a signature of the image that the kernel has verified, by a key in its keyring `.fs-verity`. As the
    /// option `signed` does, it sets [`Verity::Require`].
    #[must_use]
    pub fn with_signature(self) -> Self {
        Self { signed: true, verity: Verity::Require, ..self }
    }

    /// Demands that a trust policy accepts the image under a name, as the option `policy=` does. This crate knows no
    /// policy: [`ImageFile::check`](crate::ImageFile::check) refuses the image until [`Options::judged`] is called.
    #[must_use]
    pub fn with_policy(self, name: String) -> Self {
        Self { policy: Some(name), verity: Verity::Require, ..self }
    }

    /// Returns the name that a trust policy must accept the image under.
    #[must_use]
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// Says that a trust policy has accepted the image with this digest under the name. From now on the mount demands
    /// the digest.
    ///
    /// # Errors
    ///
    /// Those of [`Options::demand`].
    pub fn judged(&mut self, image: &Path, digest: &Digest) -> Result<(), Error> {
        self.demand(image, digest)?;
        self.policy = None;
        Ok(())
    }

    /// Sets what overlayfs checks of the files, also to less than before.
    #[must_use]
    pub fn with_verity(self, verity: Verity) -> Self {
        Self { verity, ..self }
    }

    /// Sets the writable layer.
    #[must_use]
    pub fn with_upper(self, upper: UpperDir) -> Self {
        Self { upper: Some(upper), ..self }
    }

    /// Returns options with what an option text demands; `check` is the value of `verity_check=`.
    pub(crate) fn from_text(digest: Option<Digest>, signed: bool, verity: Verity, check: Option<u8>) -> Self {
        Self { digest, signed, verity, asked_for_less: check.filter(|check| *check < 2), ..Self::default() }
    }

    /// Returns the fs-verity digest that the image must have.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns true if the kernel must have verified a signature of the image.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// Returns what overlayfs checks of the files.
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
