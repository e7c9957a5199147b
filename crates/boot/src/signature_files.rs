//! Signatures in the repository of the disk (`docs/format/trust.md`, section 5), read with bounded memory.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd};

use libcomposefs_image::Digest;
use libcomposefs_sys::resolve_beneath::{open_beneath, open_directory_beneath};
use libcomposefs_trust::{Evidence, SIGNATURE_MAX, SIGNATURES_MAX, STATEMENT_MAX, STATEMENTS_MAX, TrustPolicy};
use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

/// Most signatures of an image that are read: as many as an image can have.
const FILES_MAX: usize = 1024;
/// Most signatures by no key of the policy that are kept for the message of a refusal.
const OTHERS_MAX: usize = 8;

/// Returns the digests of the images that have signatures.
pub(crate) fn signed_images(repository: BorrowedFd<'_>) -> Result<Vec<Digest>, Errno> {
    let directory = match open_directory_beneath(repository, b"signatures") {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut digests = Vec::new();
    for entry in Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        digests.extend(Digest::from_hex(name).ok().filter(|digest| digest.to_hex().as_bytes() == name));
    }
    Ok(digests)
}

/// Reads the statements about an image with their signatures. Files that cannot be read do not count; of signatures
/// that no key of the policy has made, a few are returned, so that a refusal can name them.
pub(crate) fn evidence(
    repository: BorrowedFd<'_>,
    digest: &Digest,
    policy: &TrustPolicy,
) -> Result<Vec<Evidence>, Errno> {
    let directory = open_directory_beneath(repository, format!("signatures/{digest}").as_bytes())?;
    let mut statements: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    let (mut files, mut others) = (0, 0);
    let readable = open_directory_beneath(directory.as_fd(), b".")?;
    for entry in Dir::new(readable)? {
        let entry = entry?;
        let Some(stem) = entry.file_name().to_bytes().strip_suffix(b".ssh") else { continue };
        files += 1;
        if files > FILES_MAX {
            break;
        }
        let read = |ending: &[u8], max: usize| read(directory.as_fd(), &[stem, ending].concat(), max);
        let (Ok(signature), Ok(statement)) = (read(b".ssh", SIGNATURE_MAX), read(b".statement", STATEMENT_MAX)) else {
            continue;
        };
        let mut one = Evidence { statement, signatures: vec![signature] };
        let is_good = !policy.good_signatures(&one).is_empty();
        others += usize::from(!is_good);
        let has_room = statements.len() < STATEMENTS_MAX || statements.contains_key(&one.statement);
        if has_room && (is_good || others <= OTHERS_MAX) {
            let signatures = statements.entry(one.statement).or_default();
            if signatures.len() < SIGNATURES_MAX {
                signatures.append(&mut one.signatures);
            }
        }
    }
    Ok(statements.into_iter().map(|(statement, signatures)| Evidence { statement, signatures }).collect())
}

/// Reads a regular file of at most `max` bytes, without following symlinks.
pub(crate) fn read(directory: BorrowedFd<'_>, path: &[u8], max: usize) -> Result<Vec<u8>, Errno> {
    let file = open_beneath(directory, path)?;
    if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| crate::disk::errno(&error))?;
    if bytes.len() > max { Err(Errno::FBIG) } else { Ok(bytes) }
}
