//! The reasons why no image of a name is booted, and the remedies.

use std::path::PathBuf;

use libcomposefs_image::Digest;
use libcomposefs_trust::TrustRefusal;
use rustix::io::Errno;

/// The floors, below the disk: no image can change them.
pub(crate) const FLOORS: &str = "state/serials.json";
/// Most refusals of single images that a message has.
const LISTED: usize = 4;

/// The reasons why no image of a name is booted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The initramfs has no policy, or one that cannot be used.
    #[error("the policy {}: {reason}", path.display())]
    Policy {
        /// Path of the policy.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The floors cannot be read: without them, older images would be booted.
    #[error("{FLOORS} of the disk cannot be used: {0}")]
    Floors(String),
    /// The signatures of the repository cannot be read.
    #[error("the signatures of the repository cannot be read: {0}")]
    Signatures(Errno),
    /// The policy asks for no signature of the name, so that no image is the newest one.
    #[error("{name}: the policy has no rule with keys for this name")]
    NoRule {
        /// The name.
        name: String,
    },
    /// The repository has no image of the name that is accepted.
    #[error("{name}: {}", refused(.refusals))]
    Refused {
        /// The name.
        name: String,
        /// The images with signatures, and why each of them is refused.
        refusals: Vec<(Digest, TrustRefusal)>,
    },
}

/// Returns the refusal of the image that came furthest.
fn furthest(refusals: &[(Digest, TrustRefusal)]) -> Option<&TrustRefusal> {
    let step = |refusal: &TrustRefusal| match refusal {
        TrustRefusal::BelowFloor { .. } => 3,
        TrustRefusal::Expired(_) | TrustRefusal::TooOld { .. } => 2,
        TrustRefusal::TooFew(_) => 1,
        _ => 0,
    };
    refusals.iter().map(|(_, refusal)| refusal).max_by_key(|refusal| step(refusal))
}

fn refused(refusals: &[(Digest, TrustRefusal)]) -> String {
    furthest(refusals).map_or_else(|| "no image of the repository is signed".to_owned(), ToString::to_string)
}

impl NameError {
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            NameError::Policy { .. } => "Correct the policy and make the initramfs again.",
            NameError::Floors(_) => "Correct or remove that file of the disk from another system.",
            NameError::NoRule { .. } => "Add such a rule to the policy, and make the initramfs again.",
            NameError::Signatures(_) => "Choose another boot entry; then run composefs fsck.",
            NameError::Refused { refusals, .. } => match furthest(refusals) {
                Some(TrustRefusal::BelowFloor { .. }) => "Install a newer image, or choose another boot entry.",
                Some(TrustRefusal::Expired(_) | TrustRefusal::TooOld { .. }) => {
                    "Check the clock, install a newer image, or choose another entry."
                }
                _ => "Install an image that a key of the policy has signed.",
            },
        }
    }

    pub(crate) fn details(&self) -> Vec<String> {
        let NameError::Refused { refusals, .. } = self else { return Vec::new() };
        refusals.iter().take(LISTED).map(|(digest, refusal)| format!("{digest}: {refusal}")).collect()
    }
}
