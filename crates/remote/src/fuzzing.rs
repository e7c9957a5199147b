//! Functions for the fuzz targets, with the feature `fuzzing`. Not part of the interface.

use std::path::Path;

use crate::credentials::{self, Credentials};
use crate::policy::SignaturePolicy;
use crate::reference::Reference;
use crate::registries_conf::RegistriesConf;
use crate::wire::{self, Multipart};

/// Parses an auth file, and returns the user or the token for a repository.
#[must_use]
pub fn auth_file(text: &[u8]) -> Option<String> {
    match credentials::parse(text, "host.example", "a/b/c")? {
        Credentials::Basic { user, .. } => Some(user),
        Credentials::IdentityToken(token) => Some(token),
    }
}

/// Parses registries.conf, and returns how many endpoints a reference has.
#[must_use]
pub fn registries_conf(text: &str) -> Option<usize> {
    let mut conf = RegistriesConf::default();
    conf.add(text, Path::new("registries.conf")).ok()?;
    let _ = conf.candidates("a/b:1");
    let reference: Reference = "a.host.example:5000/a/b/c:1".parse().ok()?;
    conf.endpoints(&reference).ok().map(|endpoints| endpoints.len())
}

/// Parses policy.json, and reports whether it accepts a reference.
#[must_use]
pub fn policy(text: &str) -> Option<bool> {
    let policy = SignaturePolicy::parse(text, Path::new("policy.json")).ok()?;
    let reference: Reference = "a.host.example:5000/a/b/c:1".parse().ok()?;
    Some(policy.check_registry(&reference).is_ok())
}

/// Parses the value of `WWW-Authenticate`, and returns how many challenges are known.
#[must_use]
pub fn challenges(text: &str) -> usize {
    wire::parse_challenges(text).len()
}

/// Parses a body of the type `multipart/byteranges` in pieces, and returns how many bytes its parts have.
#[must_use]
pub fn multipart(body: &[u8], piece: usize) -> Option<u64> {
    let mut parser = Multipart::new("multipart/byteranges; boundary=b")?;
    let mut bytes = 0;
    for piece in body.chunks(piece.max(1)) {
        let mut count = |_: u64, part: &[u8]| {
            bytes += part.len() as u64;
            Ok::<(), ()>(())
        };
        parser.feed(piece, 1 << 20, &mut count).ok()?;
    }
    parser.is_at_end().then_some(bytes)
}

/// Parses the body of a refusal, and returns its message.
#[must_use]
pub fn refusal(text: &[u8]) -> Option<String> {
    wire::parse_refusal(text).1
}

/// Reports whether a text is a manifest of a known kind.
#[must_use]
pub fn manifest(text: &[u8]) -> bool {
    wire::inspect(text, None).is_ok()
}
