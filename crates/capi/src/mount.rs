//! Mounting an image as the options of the C library say.

use std::path::{Path, PathBuf};

use libcomposefs_image::Digest;
use libcomposefs_mount::{Error, ImageFile, KernelFeatures, Options, Plan, UpperDir, Verity};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::errno::{NO_VERITY, WRONG_VERITY, of_io};

/// `struct lcfs_mount_options_s`, looked at.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    pub(crate) objects: Vec<PathBuf>,
    pub(crate) work: Option<PathBuf>,
    pub(crate) upper: Option<PathBuf>,
    /// The digest as 64 hexadecimal digits.
    pub(crate) digest: Option<Vec<u8>>,
    pub(crate) flags: u32,
    pub(crate) idmap: i32,
    pub(crate) mountpoint: Option<PathBuf>,
}

const REQUIRE_VERITY: u32 = 1;
const READONLY: u32 = 2;
const IDMAP: u32 = 8;
const TRY_VERITY: u32 = 16;
const ALL: u32 = 31;

/// Wishes that can be fulfilled.
pub(crate) struct Checked {
    options: Options,
    mountpoint: Option<PathBuf>,
}

impl Wishes {
    /// # Errors
    ///
    /// `EINVAL` if they contradict each other. It is said before the image is looked for.
    pub(crate) fn check(self) -> Result<Checked, Errno> {
        let has = |flag| self.flags & flag != 0;
        if self.flags & !ALL != 0 || self.objects.is_empty() || has(IDMAP) && self.idmap < 0 {
            return Err(Errno::INVAL);
        }
        let upper = match (self.upper, self.work) {
            (Some(dir), Some(work)) => Some(UpperDir { dir: dir.into(), work: work.into() }),
            (None, None) => None,
            _ => return Err(Errno::INVAL),
        };
        let digest = match self.digest {
            None => None,
            Some(hex) => Some(Digest::from_hex(&hex).map_err(|_| Errno::INVAL)?),
        };
        let verity = match (has(REQUIRE_VERITY), has(TRY_VERITY)) {
            (true, _) => Verity::Require,
            (false, true) => Verity::RequireIfSupported,
            (false, false) => Verity::Off,
        };
        let mut options = Options::default();
        if let Some(digest) = digest {
            options = options.with_digest(digest);
        }
        // As in the C library, a digest of the image alone leaves the files unchecked.
        options = options.with_verity(verity);
        options.basedirs = self.objects.into_iter().map(Into::into).collect();
        options.upper = upper;
        options.flags.read_only = has(READONLY);
        options.idmap = has(IDMAP).then(|| PathBuf::from(format!("/proc/self/fd/{}", self.idmap)).into());
        Ok(Checked { options, mountpoint: self.mountpoint })
    }
}

/// Mounts an image at `target`.
pub(crate) fn mount(image: &ImageFile, target: &Path, wishes: Checked) -> Result<(), Errno> {
    // As in the C library, a wrong digest is reported before any other defect of the file.
    if let Some(digest) = wishes.options.digest() {
        image.check_digest(digest).map_err(|error| of_mount(&error))?;
    }
    let header = image.header().map_err(|error| of_mount(&error))?;
    let mut plan = Plan::new(image.path(), &header, wishes.options);
    plan.mountpoint = wishes.mountpoint;
    plan.mount_at(image, target, KernelFeatures::default()).map_err(|error| of_mount(&error))?;
    Ok(())
}

/// The error number that callers tell the failures apart by: `ENOENT` is a missing image for ostree.
pub(crate) fn of_mount(error: &Error) -> Errno {
    match error {
        Error::OpenImage { source, .. }
        | Error::ReadImage { source, .. }
        | Error::Directory { source, .. }
        | Error::OpenUserns { source, .. }
        | Error::NoLoopDevice { source, .. }
        | Error::NoTemporary { source, .. } => of_io(source),
        Error::NotAFile { found: FileType::Directory, .. } => Errno::ISDIR,
        Error::NotAnImage { .. } | Error::BadImage { .. } | Error::NotAFile { .. } | Error::Contradiction { .. } => {
            Errno::INVAL
        }
        Error::NoVerity { .. } => NO_VERITY,
        Error::WrongVerity { .. } => WRONG_VERITY,
        Error::NoOverlayVerity { .. } | Error::NoIdmap { .. } => Errno::OPNOTSUPP,
        Error::TooLong { .. } => Errno::TOOBIG,
        Error::Kernel { source, .. } => source.errno,
        _ => Errno::IO,
    }
}
