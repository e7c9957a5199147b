//! The images of a name that the policy of the initramfs accepts, the newest first.
//!
//! The policy and its keys are in the initramfs, which the firmware verifies. Statements, signatures and the floors are
//! on the disk. The digest of a statement is compared with what the kernel measures when the image is opened.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

use libcomposefs_image::Digest;
use libcomposefs_trust::{Acceptance, Floors, Moment, POLICY_MAX, Question, TrustPolicy, decide};
use rustix::io::Errno;

use crate::disk::{BootDisk, BootRepository, errno};
use crate::name_error::{FLOORS, NameError};
use crate::signature_files::{evidence, read, signed_images};
use crate::signed_by::SignedBy;

/// The places of the policy in the initramfs: those of the policy of a machine.
const POLICIES: [&str; 2] = ["/etc/composefs/policy.toml", "/usr/lib/composefs/policy.toml"];
const FLOORS_MAX: usize = 4 << 20;

/// An image of a name that the policy accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedCandidate {
    pub(crate) digest: Digest,
    pub(crate) signed: SignedBy,
    /// True if the statement has expired.
    pub(crate) is_expired: bool,
}

/// Returns the images of a name that are accepted, the newest first. There is at least one.
///
/// # Errors
///
/// If no image is accepted, or policy, floors or signatures cannot be read.
pub(crate) fn candidates(
    name: &str,
    policy: Option<&Path>,
    disk: &BootDisk,
    repository: &BootRepository,
) -> Result<Vec<NamedCandidate>, NameError> {
    let (policy, made) = read_policy(policy)?;
    if policy.signed_rule(name).is_none() {
        return Err(NameError::NoRule { name: name.to_owned() });
    }
    let floors = read_floors(disk)?;
    // A machine without a clock of its own begins in the past.
    let now = SystemTime::now().max(made);
    let (mut accepted, mut refusals) = (Vec::new(), Vec::new());
    for digest in signed_images(repository.directory()).map_err(NameError::Signatures)? {
        if !repository.has_image(&digest) {
            continue;
        }
        let evidence = evidence(repository.directory(), &digest, &policy).map_err(NameError::Signatures)?;
        let question = Question { name, digest, now, moment: Moment::Mount, floors: &floors };
        match decide(&policy, &question, &evidence) {
            Ok(Acceptance::Signed { rule, keys, serial, expired, .. }) => {
                let signed = SignedBy { name: name.to_owned(), rule: rule.to_string(), serial, keys };
                accepted.push(NamedCandidate { digest, signed, is_expired: expired.is_some() });
            }
            // The rule asks for signatures.
            Ok(_) => return Err(NameError::NoRule { name: name.to_owned() }),
            Err(refusal) => refusals.push((digest, refusal)),
        }
    }
    if accepted.is_empty() {
        return Err(NameError::Refused { name: name.to_owned(), refusals });
    }
    // Of two images with one number, always the same one.
    accepted.sort_by_key(|candidate| std::cmp::Reverse((candidate.signed.serial, candidate.digest.to_hex())));
    Ok(accepted)
}

/// Reads the policy. Returns with it when the file was made: the clock is not before that time.
fn read_policy(path: Option<&Path>) -> Result<(TrustPolicy, SystemTime), NameError> {
    let usual = || POLICIES.iter().map(Path::new).find(|path| path.exists()).unwrap_or(Path::new(POLICIES[0]));
    let path = path.unwrap_or_else(usual);
    let failed = |reason: String| NameError::Policy { path: path.to_owned(), reason };
    let io = |error: std::io::Error| failed(libcomposefs_sys::mount::errno_text(errno(&error)));
    let file = File::open(path).map_err(io)?;
    let made = file.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let mut bytes = Vec::new();
    file.take(POLICY_MAX as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
    Ok((TrustPolicy::parse(&bytes).map_err(|error| failed(error.to_string()))?, made))
}

/// Reads the floors. A missing file has none.
fn read_floors(disk: &BootDisk) -> Result<Floors, NameError> {
    match read(std::os::fd::AsFd::as_fd(&disk.root), FLOORS.as_bytes(), FLOORS_MAX) {
        Ok(bytes) => Floors::parse(&bytes).map_err(|error| NameError::Floors(error.to_string())),
        Err(Errno::NOENT) => Ok(Floors::default()),
        Err(errno) => Err(NameError::Floors(libcomposefs_sys::mount::errno_text(errno))),
    }
}
