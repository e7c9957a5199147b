//! The client against Debian's docker-registry, against servers that misbehave, and beside skopeo.

mod authorization;
mod certificates;
mod cut_connections;
mod fake;
mod hostile;
mod real;
mod redirects;
mod skopeo;
mod tokens;
mod transfers;
mod waiting;

use std::time::Duration;

use libcomposefs_remote::{ClientOptions, Endpoint, RegistryClient, RemoteRepository, RetryPolicy};

/// Options with short pauses.
pub(crate) fn options() -> ClientOptions {
    let (shortest, longest) = (Duration::from_millis(1), Duration::from_millis(20));
    let retry = RetryPolicy { shortest, longest, ..RetryPolicy::default() };
    ClientOptions { retry, ..ClientOptions::default() }
}

pub(crate) fn endpoint(host: &str, path: &str) -> Endpoint {
    Endpoint { host: host.to_owned(), path: path.to_owned(), is_insecure: false, is_mirror: false }
}

/// The repository `path` of a host, with these options.
#[track_caller]
pub(crate) fn repository(options: &ClientOptions, host: &str, path: &str) -> RemoteRepository {
    let client = RegistryClient::new(options.clone()).expect("a client");
    client.repository(&endpoint(host, path)).unwrap_or_else(|error| panic!("{error}"))
}

/// Bytes that differ at each place.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}
