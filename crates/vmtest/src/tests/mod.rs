//! The tests by area. A new file has a `TESTS` list; add it to [`all`].

mod boot;
mod containers;
mod doctor;
mod fs_verity;
mod full_store;
mod guest;
mod lazy;
mod mounting;
mod repository;
mod rootless;
mod tamper;
mod vouched;

use anyhow::Result;

use crate::context::Context;
use crate::kernel::Kernels;

/// A test with its name and kernels.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    /// The name, as `area::property`.
    pub(crate) name: &'static str,
    /// The kernels it is for; under others it is not part of the run.
    pub(crate) kernels: Kernels,
    /// The function that runs the test.
    pub(crate) run: fn(&Context) -> Result<()>,
}

/// The `TESTS` list of an area: kernels, and the functions that are for them; each test is named after its function.
macro_rules! tests {
    ($area:literal, $($kernels:expr => [$($run:ident),+ $(,)?]),+ $(,)?) => {
        pub(super) const TESTS: &[$crate::tests::Test] = &[$($($crate::tests::Test {
            name: concat!($area, "::", stringify!($run)),
            kernels: $kernels,
            run: $run,
        }),+),+];
    };
}
use tests;

/// Returns all tests.
pub(crate) fn all() -> Vec<Test> {
    [
        boot::TESTS,
        containers::TESTS,
        doctor::TESTS,
        guest::TESTS,
        fs_verity::TESTS,
        full_store::TESTS,
        lazy::TESTS,
        &mounting::tests(),
        repository::TESTS,
        rootless::TESTS,
        tamper::TESTS,
        vouched::TESTS,
    ]
    .concat()
}
