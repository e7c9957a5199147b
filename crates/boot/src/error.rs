//! The reasons why a boot is refused, and the remedies.

use std::path::PathBuf;

use libcomposefs_image::Digest;
use libcomposefs_mount::Error as ImageError;
use libcomposefs_sys::mount::{MountError, errno_text};
use rustix::io::Errno;

use crate::config::ConfigError;
use crate::message::BootRefusal;
use crate::plan::PlanError;
use crate::steps::StateError;
use crate::words::WordError;

/// Reason why a boot is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// The kernel command line is wrong.
    #[error("{0}")]
    Words(#[from] WordError),
    /// The configuration is wrong.
    #[error("{}: {source}", path.display())]
    Config {
        /// Path of the configuration.
        path: PathBuf,
        /// Error with the wrong line.
        source: ConfigError,
    },
    /// No image of the name is booted.
    #[cfg(feature = "name")]
    #[error("{0}")]
    Name(#[from] crate::name_error::NameError),
    /// The plan contradicts the repository.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// The state of the image is not as the plan needs it.
    #[error("{0}")]
    State(#[from] StateError),
    /// The disk has no repository.
    #[error("no repository at {}: {}", path.display(), errno_text(*errno))]
    NoRepository {
        /// Path of the repository.
        path: PathBuf,
        /// Error that the kernel returned.
        errno: Errno,
    },
    /// None of the named images is there.
    #[error("the repository has no image that the command line names")]
    NoImage {
        /// The words that name images.
        words: Vec<String>,
        /// Some of the images that are there.
        present: Vec<String>,
    },
    /// The link of an image is not one.
    #[error("images/{digest} is no link to an object of the repository")]
    BadLink {
        /// Digest of the image.
        digest: Digest,
        /// The target of the link, if it is a link.
        target: String,
    },
    /// An image without fs-verity is not the one that its link names.
    #[error("images/{digest} leads to another image")]
    OtherImage {
        /// Digest of the image.
        digest: Digest,
        /// The target of the link.
        target: String,
    },
    /// The image cannot be mounted.
    #[error("{}", image_text(source))]
    Image {
        /// Digest of the image.
        digest: Digest,
        /// Error of the mount.
        source: Box<ImageError>,
    },
    /// The first program cannot be read.
    #[error("{path} of the image cannot be read: {}", errno_text(*errno))]
    Init {
        /// Path of the program or its loader, in the image.
        path: String,
        /// Error that the kernel returned.
        errno: Errno,
    },
    /// A step of the mounts failed.
    #[error("{doing}: {source}")]
    Mount {
        /// Name of the failed action.
        doing: String,
        /// Error that the kernel returned.
        source: MountError,
    },
    /// A file or directory cannot be used.
    #[error("{doing}: {}", errno_text(*errno))]
    Io {
        /// Name of the failed action.
        doing: String,
        /// Error that the kernel returned.
        errno: Errno,
    },
    /// The disk cannot be found or mounted (as `/init`).
    #[error("{0}")]
    Disk(String),
}

/// Returns the error without the words that name a path on the initramfs' side.
fn image_text(error: &ImageError) -> String {
    match error {
        ImageError::NoVerity { supported: true, .. } => "the image has no fs-verity".into(),
        ImageError::NoVerity { .. } => "the image is on a file system without fs-verity".into(),
        ImageError::WrongVerity { .. } => "the image has another digest".into(),
        ImageError::NoOverlayVerity { release, .. } => format!("Linux {release} cannot verify files"),
        ImageError::Kernel { source, .. } if source.errno == Errno::IO => "the image is damaged on the disk".into(),
        ImageError::Kernel { source, .. } if source.errno == Errno::NODEV => format!("{source}: no such module"),
        ImageError::ReadImage { .. } => "the image cannot be read: it is damaged on the disk".into(),
        ImageError::NotAnImage { .. } | ImageError::BadImage { .. } => "the object is no composefs image".into(),
        other => {
            let text = other.to_string();
            text.strip_prefix("Failed to mount composefs ").unwrap_or(&text).to_owned()
        }
    }
}

const PREVIOUS: &str = "Choose the previous entry in the boot menu.";
const PREVIOUS_AND_FSCK: &str = "Choose the previous entry in the boot menu; then run composefs fsck.";
const ENTRY: &str = "Correct the command line of this boot entry, or choose another one.";

fn image_remedy(error: &ImageError) -> &'static str {
    match error {
        ImageError::NoVerity { supported: false, .. } => {
            "Make the file system with the feature verity (tune2fs -O verity)."
        }
        ImageError::NoOverlayVerity { .. } => "Choose a boot entry with Linux 6.6 or newer.",
        ImageError::Kernel { source, .. } if source.errno == Errno::NODEV => {
            "Add the modules erofs, overlay and loop to the initramfs."
        }
        _ => PREVIOUS_AND_FSCK,
    }
}

impl BootError {
    pub(crate) fn image(digest: Digest, source: ImageError) -> Self {
        BootError::Image { digest, source: Box::new(source) }
    }

    /// Returns the error as text for the console.
    #[must_use]
    pub fn refusal(&self) -> BootRefusal {
        BootRefusal { what: self.to_string(), remedy: self.remedy(), details: self.details() }
    }

    fn remedy(&self) -> String {
        match self {
            BootError::Words(WordError::NoImage) => "Add composefs=DIGEST to this boot entry, or choose another one.",
            BootError::Words(WordError::NoNames { .. }) => {
                "Choose the previous entry; then set boot_by_name=yes (docs/boot.md)."
            }
            BootError::Words(_) => ENTRY,
            #[cfg(feature = "name")]
            BootError::Name(error) => error.remedy(),
            BootError::Plan(PlanError::Verity { .. }) => "Take the ? out of this boot entry, or choose another one.",
            BootError::Config { .. } => "Correct the configuration and make the initramfs again.",
            BootError::NoRepository { .. } => "Check root= of this boot entry: another disk may be mounted.",
            BootError::Image { source, .. } => image_remedy(source),
            BootError::BadLink { .. } | BootError::OtherImage { .. } | BootError::Init { .. } => PREVIOUS_AND_FSCK,
            BootError::State(StateError::ReadOnly { .. }) => "Write rw instead of ro into this boot entry.",
            BootError::State(StateError::IsCopy { .. }) => "Set mount = \"bind\" for it in setup-root-conf.toml.",
            BootError::State(StateError::IsOverlay { .. }) => "Set mount = \"overlay\" for it in setup-root-conf.toml.",
            BootError::State(StateError::NoCopy { .. }) => "Copy the image's /etc there, or set mount = \"overlay\".",
            BootError::Disk(_) => "Check root= and rootfstype= of this boot entry, and the disk.",
            BootError::NoImage { .. } | BootError::Mount { .. } | BootError::Io { .. } => PREVIOUS,
        }
        .to_owned()
    }

    fn details(&self) -> Vec<String> {
        match self {
            BootError::NoImage { words, present } => {
                let mut lines: Vec<_> = words.iter().map(|word| format!("wanted:   {word}")).collect();
                lines.extend(present.iter().map(|name| format!("there is: {name}")));
                lines
            }
            BootError::BadLink { digest, target } | BootError::OtherImage { digest, target } => {
                vec![format!("image:    {digest}"), format!("leads to: {target}")]
            }
            #[cfg(feature = "name")]
            BootError::Name(error) => error.details(),
            BootError::Plan(PlanError::Verity { word }) => vec![format!("word:     {word}")],
            BootError::Image { digest, source } => {
                let mut lines = vec![format!("wanted:   {digest}")];
                match &**source {
                    ImageError::WrongVerity { found, .. } => {
                        lines.push(found.replace("the kernel measured", "measured:"))
                    }
                    ImageError::Kernel { source, kernel_log, .. } => {
                        lines.push(source.to_string());
                        lines.extend(kernel_log.iter().take(4).cloned());
                    }
                    ImageError::ReadImage { .. } | ImageError::NotAnImage { .. } | ImageError::BadImage { .. } => {
                        lines.push(source.to_string());
                    }
                    _ => {}
                }
                lines
            }
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_all_refusals_fit_a_console() {
        let digest = Digest::from_hex("ab".repeat(64)).unwrap();
        let path = format!("state/deploy/{digest}/etc");
        let image = || PathBuf::from("/sysroot/composefs/images/x");
        let image_error = |source| BootError::image(digest, source);
        let found = "the kernel measured sha512:00".to_owned();
        let config = ConfigError { line: 1, text: "x".into(), expected: "KEY = VALUE" };
        let errors: Vec<BootError> = vec![
            WordError::NoImage.into(),
            WordError::Digest { word: "composefs=abc".into(), expected: "64 or 128" }.into(),
            WordError::Format { word: format!("composefs.digest=v3-sha256-12:{digest}") }.into(),
            PlanError::Verity { word: format!("composefs=?{digest}") }.into(),
            StateError::ReadOnly { path: path.clone() }.into(),
            StateError::IsCopy { path: path.clone() }.into(),
            StateError::IsOverlay { path: path.clone() }.into(),
            StateError::NoCopy { path }.into(),
            BootError::NoRepository { path: "/sysroot/composefs".into(), errno: Errno::NOENT },
            BootError::NoImage { words: vec![format!("composefs={digest}")], present: vec![] },
            BootError::BadLink { digest, target: "../x".into() },
            BootError::OtherImage { digest, target: "../x".into() },
            image_error(ImageError::NoVerity { image: image(), expected: digest, supported: true }),
            image_error(ImageError::NoVerity { image: image(), expected: digest, supported: false }),
            image_error(ImageError::WrongVerity { image: image(), expected: digest, found }),
            image_error(ImageError::NoOverlayVerity {
                image: image(),
                demand: "require",
                release: "6.1.0-42-cloud-amd64".into(),
            }),
            BootError::Init { path: "/sbin/init".into(), errno: Errno::IO },
            BootError::Config { path: "/usr/lib/composefs/setup-root-conf.toml".into(), source: config },
            BootError::Disk("root=/dev/vda: it did not appear in 10 s".into()),
            BootError::Io { doing: "opening meta.json of the repository".into(), errno: Errno::LOOP },
        ];
        for error in errors {
            let (lines, details) = error.refusal().lines();
            assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:?}");
            assert!(!lines[0].ends_with("...") || !details.is_empty(), "{lines:?}");
            assert!(!lines[1].ends_with("..."), "{lines:?}");
        }
    }

    #[test]
    fn both_digests_are_told() {
        let digest = Digest::from_hex("ab".repeat(32)).unwrap();
        let found = format!("the kernel measured sha256:{}", "cd".repeat(32));
        let source = ImageError::WrongVerity { image: "x".into(), expected: digest, found };
        let details = BootError::image(digest, source).refusal().lines().1.join("\n");
        assert!(details.contains(&"ab".repeat(32)) && details.contains(&"cd".repeat(32)), "{details}");
    }
}
