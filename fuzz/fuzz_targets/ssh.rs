//! Both directions of the protocol of `composefs remote serve`, chosen by the first byte: `c` for what a client sends,
//! `s` for what a server sends. With `h` or `g` the first message is right.
#![no_main]

use composefs_fuzz::{Budget, Linear};
use libcomposefs_remote::fuzzing as remote;
use libfuzzer_sys::fuzz_target;

// The buffers of both sides have 64 KiB each, and the replies to many requests are kept.
static BUDGET: Budget =
    Budget::new("ssh", Linear { base: 512 << 10, per_byte: 256 }, Linear { base: 10_000_000, per_byte: 10_000 });

const HELLO: &[u8] = b"composefs-remote\x01\0\x01\0";

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let greeted = [HELLO, bytes].concat();
    BUDGET.check(input.len(), || match kind {
        b'c' => remote::ssh_requests(bytes),
        b'h' => remote::ssh_requests(&greeted),
        b's' => remote::ssh_replies(bytes).unwrap_or_default(),
        b'g' => remote::ssh_replies(&greeted).unwrap_or_default(),
        _ => 0,
    });
});
