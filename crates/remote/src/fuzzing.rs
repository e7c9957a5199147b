//! Functions for the fuzz targets, with the feature `fuzzing`. Not part of the interface.

use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::time::UNIX_EPOCH;

use libcomposefs_delivery::{
    Abilities, CompareAndSwap, CreateOutcome, ExpectedFile, FileKind, FileName, FileVersion, ListedFile, NewContent,
    RangeAnswer, RangeSink, ReadFile, RefReplacement, RemoteError, RemoteStore,
};

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

/// A remote whose files all have the same three bytes.
struct AnyFile;

const BYTES: &[u8; 3] = b"abc";

impl RemoteStore for AnyFile {
    fn location(&self) -> &str {
        "memory"
    }

    fn abilities(&self) -> Abilities {
        Abilities { read_only: None, no_gc: None, compare_and_swap: CompareAndSwap::Exact, is_near: true }
    }

    fn read(&self, _: &FileName, limit: u64) -> Result<Option<ReadFile>, RemoteError> {
        let version = Some(FileVersion("1".to_owned()));
        Ok((limit >= 3).then(|| ReadFile { bytes: BYTES.to_vec(), version }))
    }

    fn read_range(
        &self,
        name: &FileName,
        range: Range<u64>,
        sink: &mut dyn RangeSink,
    ) -> Result<Option<RangeAnswer>, RemoteError> {
        let failed = || RemoteError::new("memory", "read", "the range is outside the file").of(name);
        let end = usize::try_from(range.end).map_err(|_| failed())?;
        let start = usize::try_from(range.start).map_err(|_| failed())?;
        let bytes = BYTES.get(start..end).ok_or_else(failed)?;
        sink.begin(RangeAnswer::Part).and_then(|()| sink.bytes(bytes)).map_err(|_| failed())?;
        Ok(Some(RangeAnswer::Part))
    }

    fn length(&self, _: &FileName) -> Result<Option<u64>, RemoteError> {
        Ok(Some(3))
    }

    fn create(&self, name: &FileName, content: &mut dyn NewContent) -> Result<CreateOutcome, RemoteError> {
        let (mut bytes, length) = (Vec::new(), content.length());
        let read = content.take(length).read_to_end(&mut bytes);
        let failed = |error: std::io::Error| RemoteError::new("memory", "write", error.to_string()).of(name);
        read.map_err(failed)?;
        assert!(bytes.is_empty() || name.sha256() == Some(&libcomposefs_delivery::Sha256Digest::of(&bytes)));
        Ok(CreateOutcome::New)
    }

    fn replace(&self, _: &FileName, _: &[u8], expected: &ExpectedFile) -> Result<RefReplacement, RemoteError> {
        Ok(if *expected == ExpectedFile::Absent { RefReplacement::Changed } else { RefReplacement::Done(None) })
    }

    fn list(&self, _: FileKind) -> Result<Vec<ListedFile>, RemoteError> {
        Ok(vec![ListedFile { name: FileName::Version, length: 3, modified: UNIX_EPOCH }])
    }

    fn delete(&self, _: &FileName) -> Result<(), RemoteError> {
        Ok(())
    }
}

/// Gives requests to a server of the protocol of `ssh://`, and returns how many bytes it answers. Another program must
/// be able to read them.
#[must_use]
pub fn ssh_requests(requests: &[u8]) -> usize {
    let mut replies = Vec::new();
    let _ = crate::ssh::serve(&AnyFile, None, requests, &mut replies);
    assert!(crate::ssh::read_replies(&replies).is_some());
    replies.len()
}

/// Reads replies of a server of the protocol of `ssh://`, and returns how many there are.
#[must_use]
pub fn ssh_replies(replies: &[u8]) -> Option<usize> {
    crate::ssh::read_replies(replies)
}
