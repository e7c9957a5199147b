//! One message after the other, with the sha2 crate: it uses the CPU's SHA instructions where there are any, and runs
//! everywhere. What the other kernels leave over comes here too.

use sha2::{Digest as _, Sha256, Sha512};

use crate::Family;

pub(crate) fn append_hash(family: Family, message: &[u8], hashes: &mut Vec<u8>) {
    match family {
        Family::Sha256 => hashes.extend_from_slice(&Sha256::digest(message)),
        Family::Sha512 => hashes.extend_from_slice(&Sha512::digest(message)),
    }
}

pub(crate) fn hash_message(family: Family, message: &[u8]) -> [u8; 64] {
    let mut hash = [0; 64];
    match family {
        Family::Sha256 => hash[..32].copy_from_slice(&Sha256::digest(message)),
        Family::Sha512 => hash.copy_from_slice(&Sha512::digest(message)),
    }
    hash
}
