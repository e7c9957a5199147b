//! Remotes on real servers: nginx, Python's http.server, moto for S3, docker-registry; and on servers that lie.

mod contract;
#[allow(dead_code)]
#[path = "../registry/fake.rs"]
mod fake;
mod lies;
#[allow(dead_code)]
#[path = "../registry/real.rs"]
mod real;
mod registry;
mod s3;
mod servers;
mod web;

use std::time::Duration;

use libcomposefs_remote::{ClientOptions, RetryPolicy};

/// Options with short waits.
pub(crate) fn options() -> ClientOptions {
    let (shortest, longest) = (Duration::from_millis(1), Duration::from_millis(20));
    let retry = RetryPolicy { shortest, longest, ..RetryPolicy::default() };
    ClientOptions { retry, idle_time: Duration::from_secs(20), ..ClientOptions::default() }
}

/// Bytes that differ at each place.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}
