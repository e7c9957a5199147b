//! The errors of a mount, and their remedies.
//!
//! The texts contain those of the C tools, which scripts search for; additions follow them.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use libcomposefs_image::Digest;
use libcomposefs_image::erofs::header::HeaderError;
use libcomposefs_image::erofs::read::ReadError;
use libcomposefs_sys::input::kind_name;
use libcomposefs_sys::mount::{MountError, errno_text};
use libcomposefs_sys::user_namespace::is_in_one;
use libcomposefs_sys::verity::refusal_cause;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::statfs_refusal::StatfsRefusal;

/// The step of asking the kernel for the digest.
pub(crate) const MEASURING: &str = "measuring fs-verity";

/// The reason why an image is not mounted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The image cannot be opened.
    #[error("Failed to open {}: {}", image.display(), io_text(source))]
    OpenImage {
        /// Path of the image, for messages.
        image: PathBuf,
        /// Error that the kernel returned.
        source: io::Error,
    },
    /// The image cannot be read or measured.
    #[error("Failed to mount composefs {}: {}: {doing} failed", image.display(), io_text(source))]
    ReadImage {
        /// Path of the image, for messages.
        image: PathBuf,
        /// The operation that failed.
        doing: &'static str,
        /// Error that the kernel returned.
        source: io::Error,
    },
    /// The file is no composefs image.
    #[error("Failed to mount composefs {}: Invalid argument: {source}", image.display())]
    NotAnImage {
        /// Path of the file.
        image: PathBuf,
        /// Rule that the header breaks.
        source: HeaderError,
    },
    /// The image has a composefs header, but breaks a rule of the EROFS superblock: it is damaged, cut off, or needs
    /// what no composefs image needs.
    #[error("Failed to mount composefs {}: Invalid argument: {source}", image.display())]
    BadImage {
        /// Path of the image, for messages.
        image: PathBuf,
        /// The rule, and where it is broken.
        source: Box<ReadError>,
    },
    /// Neither a regular file nor a block device.
    #[error("Failed to mount composefs {}: {}: it is {}, an image is a regular file or a block device", image.display(),
        errno_text(not_a_file(*found)), kind_name(*found))]
    NotAFile {
        /// Path given as the image.
        image: PathBuf,
        /// Type of the file that was found.
        found: FileType,
    },
    /// A digest is demanded of an image on which fs-verity is off.
    #[error("Failed to mount composefs {}: Image has no fs-verity: expected {expected:?}, {}", image.display(),
        if *supported { "but fs-verity is not enabled on the file" } else { "but its file system has no fs-verity" })]
    NoVerity {
        /// Path of the image, for messages.
        image: PathBuf,
        /// Digest that the image must have.
        expected: Digest,
        /// Set if the file system supports fs-verity.
        supported: bool,
    },
    /// The image has another digest than the one demanded.
    #[error("Failed to mount composefs {}: Image has wrong fs-verity: expected {expected:?}, {found}", image.display())]
    WrongVerity {
        /// Path of the image, for messages.
        image: PathBuf,
        /// Digest that the image must have.
        expected: Digest,
        /// The algorithm and digest that the image has, and according to what.
        found: String,
    },
    /// A signature is demanded of the image, and the kernel has verified none.
    #[error("Failed to mount composefs {}: Image is not signed: {reason}", image.display())]
    NotSigned {
        /// Path of the image, for messages.
        image: PathBuf,
        /// What is missing.
        reason: NotSigned,
    },
    /// A trust policy should accept the image, and cannot be asked.
    #[error("Failed to mount composefs {}: Image cannot be judged by a policy: {reason}", image.display())]
    NotJudged {
        /// Path of the image, for messages.
        image: PathBuf,
        /// What prevents it.
        reason: &'static str,
    },
    /// `verity_check=` asks for less than what is demanded of this image.
    #[error("Failed to mount composefs {}: Invalid argument: option verity_check={check} contradicts the demand \
        that every file of this image is verified", image.display())]
    Contradiction {
        /// Path of the image, for messages.
        image: PathBuf,
        /// The value of `verity_check`.
        check: u8,
    },
    /// A directory of the plan cannot be used.
    #[error("Failed to mount composefs {}: {}: {role} {}", image.display(), io_text(source), dir.display())]
    Directory {
        /// Path of the image, for messages.
        image: PathBuf,
        /// The role of the directory: `basedir`, `upperdir`, `workdir`, `mount point`.
        role: &'static str,
        /// Path of the directory.
        dir: PathBuf,
        /// Error that the kernel returned.
        source: io::Error,
    },
    /// The file of the user namespace cannot be opened.
    #[error("Failed to open userns {}: {}", userns.display(), io_text(source))]
    OpenUserns {
        /// Path of the file.
        userns: PathBuf,
        /// Error that the kernel returned.
        source: io::Error,
    },
    /// The files shall be verified, and the overlayfs of this kernel cannot.
    #[error("Failed to mount composefs {}: Operation not supported: overlayfs of this kernel ({release}) cannot \
        verify files, it has no option verity={demand}", image.display())]
    NoOverlayVerity {
        /// Path of the image, for messages.
        image: PathBuf,
        /// The value of overlayfs' option.
        demand: &'static str,
        /// Release of the kernel, as `uname -r` prints it.
        release: String,
    },
    /// `idmap=` on a kernel without the calls for it.
    #[error("Failed to mount composefs {}: Operation not supported: this kernel ({release}) has no id-mapped mounts",
        image.display())]
    NoIdmap {
        /// Path of the image, for messages.
        image: PathBuf,
        /// Release of the kernel, as `uname -r` prints it.
        release: String,
    },
    /// The kernel mounts an image only through a block device, and no loop device is available.
    #[error("Failed to mount composefs {}: {}: EROFS of this kernel ({release}) cannot mount this file directly, \
        and no loop device could be set up for it", image.display(), io_text(source))]
    NoLoopDevice {
        /// Path of the image, for messages.
        image: PathBuf,
        /// Release of the kernel, as `uname -r` prints it.
        release: String,
        /// Error of the loop driver.
        source: io::Error,
    },
    /// No directory to mount the image on for a moment.
    #[error("Failed to mount composefs {}: {}: no temporary directory in /run or /tmp",
        image.display(), io_text(source))]
    NoTemporary {
        /// Path of the image, for messages.
        image: PathBuf,
        /// The error of making the last one tried.
        source: io::Error,
    },
    /// The option text of `mount(2)` is longer than the kernel reads.
    #[error("Failed to mount composefs {}: Argument list too long: the directories make {len} bytes of mount options, \
        this kernel reads 4095", image.display())]
    TooLong {
        /// Path of the image, for messages.
        image: PathBuf,
        /// Length of the option text in bytes.
        len: usize,
    },
    /// The mount cannot have the numbers of the objects' file system (`statfs=objects`).
    #[error("Failed to mount composefs {}: Invalid argument: option statfs=objects: {reason}", image.display())]
    Statfs {
        /// Path of the image, for messages.
        image: PathBuf,
        /// What prevents it.
        reason: StatfsRefusal,
    },
    /// A step of the mount failed.
    #[error("Failed to mount composefs {}: {}: {}",
        image.display(), errno_text(source.errno), refusal(source, kernel_log))]
    Kernel {
        /// Path of the image, for messages.
        image: PathBuf,
        /// The step, the error number and the context's messages.
        source: MountError,
        /// The lines that overlayfs, EROFS, fs-verity and the loop driver wrote to the kernel's log during the mount.
        kernel_log: Vec<String>,
    },
}

/// The reason why the kernel has verified no signature of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSigned {
    /// The file has no signature, or no fs-verity.
    #[error("fs-verity is not enabled on the file with a signature")]
    File,
    /// The kernel verifies no signatures of files.
    #[error("this kernel does not verify signatures of files (CONFIG_FS_VERITY_BUILTIN_SIGNATURES)")]
    Kernel,
}

/// The error number for what is no file.
fn not_a_file(found: FileType) -> Errno {
    if found == FileType::Directory { Errno::ISDIR } else { Errno::INVAL }
}

/// Returns the step that the kernel refused, and the kernel's messages.
fn refusal(error: &MountError, kernel_log: &[String]) -> String {
    let mut text = format!("{} was refused", error.step);
    for (from, lines) in [("the kernel says", &error.log[..]), ("in the kernel's log", kernel_log)] {
        if !lines.is_empty() {
            let _ = write!(text, "; {from}: {}", lines.join("; "));
        }
    }
    text
}

/// The error's words without the number.
fn io_text(error: &io::Error) -> String {
    Errno::from_io_error(error).map_or_else(|| error.to_string(), errno_text)
}

impl Error {
    /// Returns true if the image does not exist: the one failure that `nofail` forgives.
    #[must_use]
    pub fn is_missing_image(&self) -> bool {
        matches!(self, Error::OpenImage { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }

    /// A name for the kind of failure, for programs: it does not change.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Error::OpenImage { .. } => "open-image",
            Error::ReadImage { .. } => "read-image",
            Error::NotAnImage { .. } => "not-an-image",
            Error::BadImage { .. } => "bad-image",
            Error::NotAFile { .. } => "not-a-file",
            Error::NoVerity { .. } => "no-verity",
            Error::WrongVerity { .. } => "wrong-verity",
            Error::NotSigned { .. } => "not-signed",
            Error::NotJudged { .. } => "not-judged",
            Error::Contradiction { .. } => "contradiction",
            Error::Directory { .. } => "directory",
            Error::OpenUserns { .. } => "open-userns",
            Error::NoOverlayVerity { .. } => "no-overlay-verity",
            Error::NoIdmap { .. } => "no-idmap",
            Error::NoLoopDevice { .. } => "no-loop-device",
            Error::NoTemporary { .. } => "no-temporary",
            Error::TooLong { .. } => "too-long",
            Error::Statfs { .. } => "statfs",
            Error::Kernel { .. } => "kernel",
        }
    }

    /// Returns what can be done about it, if anything is known to help.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Error::ReadImage { doing: MEASURING, source, .. } => {
                Errno::from_io_error(source).and_then(refusal_cause)?.into()
            }
            Error::BadImage { image, .. } => {
                let image = image.display();
                format!("build or fetch the image again; `composefs check {image}` tells all that is wrong with it")
            }
            Error::NoVerity { image, supported: true, .. } => {
                format!("enable it with `fsverity enable {}`, then try again", image.display())
            }
            Error::NoVerity { .. } => {
                "put the image on ext4 (made or tuned with `-O verity`), btrfs or f2fs and enable fs-verity on it"
                    .into()
            }
            Error::WrongVerity { .. } => {
                "this is not the image the digest was taken of: build or fetch it again, or find out who changed it; \
                 do not just change digest="
                    .into()
            }
            Error::OpenImage { source, .. } => match Errno::from_io_error(source) {
                Some(Errno::NOKEY) => {
                    "the file has a signature, and its key is not in the kernel's keyring .fs-verity: add the \
                     certificate with `keyctl padd asymmetric '' %:.fs-verity < cert.der`"
                        .into()
                }
                Some(Errno::KEYREJECTED | Errno::BADMSG) => {
                    "the signature of the file is wrong: the file or its disk was changed".into()
                }
                _ => return None,
            },
            Error::NotSigned { image, reason: NotSigned::File } => format!(
                "copy the image and sign the copy: `composefs seal --kernel-signature=FILE {}`",
                image.display()
            ),
            Error::NotSigned { .. } => {
                "use a kernel with this option and mount /proc, or demand a digest with digest=".into()
            }
            Error::NotJudged { image, .. } => format!(
                "mount it with mount.composefs or `composefs mount`, and with fs-verity: `composefs seal {}`",
                image.display()
            ),
            Error::Contradiction { .. } => "leave out verity_check, or use verity_check=2".into(),
            Error::NoOverlayVerity { .. } => {
                "use Linux 6.6 or newer, or mount without verification: leave out digest= and verity, \
                 or use tryverity or verity_check=0"
                    .into()
            }
            Error::NoIdmap { .. } => "use Linux 5.19 or newer, or leave out idmap=".into(),
            Error::NoLoopDevice { .. } if !Path::new("/proc/self/fd").exists() => {
                "mount /proc, by which the kernel gets to the image; or give it /dev/loop-control \
                 and the loop devices"
                    .into()
            }
            Error::NoLoopDevice { source, .. } => match Errno::from_io_error(source) {
                Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => {
                    "run `modprobe loop`; in a container give it /dev/loop-control and the loop devices; \
                     or use Linux 6.12 or newer and keep the image on a disk file system"
                        .into()
                }
                Some(Errno::PERM | Errno::ACCESS) => "loop devices need root".into(),
                _ => return None,
            },
            Error::TooLong { .. } => "use fewer or shorter basedirs, or Linux 6.7 or newer".into(),
            Error::Statfs { reason, .. } => reason.remedy().into(),
            Error::Directory { role: "basedir", .. } => {
                "basedir= is the directory that holds the objects, as xx/yyyy…".into()
            }
            Error::Kernel { source, .. } => return kernel_remedy(source),
            _ => return None,
        })
    }
}

fn kernel_remedy(error: &MountError) -> Option<String> {
    let step = error.step.as_str();
    Some(match error.errno {
        Errno::PERM if is_in_one() == Some(true) => {
            "this process is in a user namespace, as in a rootless container, where the kernel mounts no EROFS even \
             for root: mount outside of it, as root of the initial namespace, or by `composefs mount --via=fuse`"
                .into()
        }
        Errno::PERM => {
            "mounting by the kernel needs CAP_SYS_ADMIN: run it as root, or mount by `composefs mount --via=fuse`"
                .into()
        }
        Errno::NODEV if step.contains("erofs") => {
            "this kernel has no EROFS: run `modprobe erofs`, or use a kernel with CONFIG_EROFS_FS".into()
        }
        Errno::NODEV => {
            "this kernel has no overlayfs: run `modprobe overlay`, or use a kernel with CONFIG_OVERLAY_FS".into()
        }
        Errno::BUSY => "another overlay mount uses this upperdir or workdir: unmount it, or use others".into(),
        Errno::LOOP => {
            "the same directory is given twice, or one lies in the other: give each layer a directory of its own".into()
        }
        Errno::IO => "the image or its disk is damaged: `dmesg` tells which block".into(),
        Errno::INVAL if step.contains("idmap") => {
            "idmap= must be a user namespace other than the initial one, and EROFS must allow mapping (Linux 5.19)"
                .into()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_references_words_are_in_ours() {
        let expected = Digest::from_hex("ab".repeat(32)).unwrap();
        let image = PathBuf::from("IMG");
        let none = Error::NoVerity { image: image.clone(), expected, supported: true };
        assert!(none.to_string().starts_with("Failed to mount composefs IMG: Image has no fs-verity"), "{none}");
        assert!(none.remedy().unwrap().contains("fsverity enable IMG"));
        let found = format!("the kernel measured sha256:{}", "cd".repeat(32));
        let wrong = Error::WrongVerity { image: image.clone(), expected, found: found.clone() };
        assert!(wrong.to_string().starts_with("Failed to mount composefs IMG: Image has wrong fs-verity"), "{wrong}");
        assert!(wrong.to_string().contains(&expected.to_hex()) && wrong.to_string().contains(&found), "{wrong}");
        let missing = Error::OpenImage { image: image.clone(), source: Errno::NOENT.into() };
        assert_eq!(missing.to_string(), "Failed to open IMG: No such file or directory");
        assert!(missing.is_missing_image());
        assert!(!Error::OpenImage { image, source: Errno::ACCESS.into() }.is_missing_image());
    }

    #[test]
    fn the_kernels_words_are_in_it() {
        let source = MountError {
            step: "fsconfig(create overlay)".into(),
            errno: Errno::INVAL,
            log: vec!["overlay: No source".into()],
        };
        let kernel_log = vec!["overlayfs: failed".into()];
        let error = Error::Kernel { image: "IMG".into(), source, kernel_log };
        assert_eq!(
            error.to_string(),
            "Failed to mount composefs IMG: Invalid argument: fsconfig(create overlay) was refused; \
             the kernel says: overlay: No source; in the kernel's log: overlayfs: failed"
        );
    }
}
