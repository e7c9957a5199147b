//! Mounting, as users do it: images made by `mkcomposefs`, mounted by the real mount(8), read, tampered with and
//! refused.
//!
//! Each refusal has a twin on the same mount that is not refused, and each `EIO` its line in the kernel's log: an error
//! for another reason would prove nothing.

mod options;
mod page_cache;
mod policy;
mod refusals;
mod scene;
mod sha512;
mod signed;
mod transcript;
mod verified;
mod ways;
mod writable;

use super::Test;
use crate::kernel::Kernels;

/// The kernels whose overlayfs can verify.
const VERIFYING: Kernels = Kernels::Since((6, 6));
/// Those whose overlayfs cannot.
const NOT_VERIFYING: Kernels = Kernels::Before((6, 6));

/// The tests of all areas of mounting.
pub(super) fn tests() -> Vec<Test> {
    [
        transcript::TESTS,
        verified::TESTS,
        sha512::TESTS,
        signed::TESTS,
        page_cache::TESTS,
        policy::TESTS,
        writable::TESTS,
        options::TESTS,
        refusals::TESTS,
        ways::TESTS,
    ]
    .concat()
}
