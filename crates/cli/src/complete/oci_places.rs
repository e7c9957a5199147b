//! Completion of OCI images outside a repository: `oci:DIR`, archives, registries.

use std::ffi::OsStr;

use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter as _};

/// What follows the first part of a source or destination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Directory,
    File,
    /// A name that is not looked up.
    Name,
}

const SOURCES: &[(&str, Rest)] = &[
    ("docker://", Rest::Name),
    ("oci:", Rest::Directory),
    ("oci-archive:", Rest::File),
    ("docker-archive:", Rest::File),
    ("containers-storage:", Rest::Name),
];

/// Returns the sources of OCI images that start with `begun`.
pub(super) fn sources(begun: &OsStr) -> Vec<CompletionCandidate> {
    places(begun, SOURCES.iter())
}

/// Returns the destinations of `oci export` that start with `begun`.
pub(crate) fn oci_destinations(begun: &OsStr) -> Vec<CompletionCandidate> {
    places(begun, SOURCES.iter().filter(|(_, rest)| *rest != Rest::Name))
}

/// Returns the destinations of `oci push` that start with `begun`.
pub(crate) fn oci_registries(begun: &OsStr) -> Vec<CompletionCandidate> {
    places(begun, SOURCES.iter().take(1))
}

fn places<'a>(begun: &OsStr, known: impl Iterator<Item = &'a (&'a str, Rest)>) -> Vec<CompletionCandidate> {
    let Some(text) = begun.to_str() else { return Vec::new() };
    let of_place = |&(first, rest): &(&str, Rest)| {
        let paths = match (text.strip_prefix(first), rest) {
            (Some(_), Rest::Name) => return Vec::new(),
            (Some(path), Rest::Directory) => PathCompleter::dir().complete(OsStr::new(path)),
            (Some(path), Rest::File) => PathCompleter::any().complete(OsStr::new(path)),
            (None, _) if first.starts_with(text) => return vec![CompletionCandidate::new(first)],
            (None, _) => return Vec::new(),
        };
        paths.into_iter().map(|path| path.add_prefix(first)).collect()
    };
    known.flat_map(of_place).collect()
}
