//! Mounts by the real kernel, in every way there is: those of older kernels are forced where the kernel is new.
//!
//! Everything is mounted below a temporary directory (`TMPDIR`), which should be on a file system with fs-verity for
//! all tests to run. After each test nothing may be left behind: no mount, no loop device, no temporary directory.

mod derived;
mod descriptors;
mod layered;
mod mounts;
mod read_ahead;
mod refusals;
mod scratch;
mod stacked;
mod statfs;
mod verity;

use libcomposefs_testkit::skip;
use libtest_mimic::{Arguments, Failed};

use scratch::{Facts, Scratch};

/// One test: its name, what it needs beyond mounting at all, what it does.
struct Case {
    name: &'static str,
    needs: fn(&Facts) -> Option<String>,
    run: fn(&Scratch),
}

fn nothing(_: &Facts) -> Option<String> {
    None
}

fn main() {
    let mut arguments = Arguments::from_args();
    // Loop devices and temporary directories are counted before and after each test.
    arguments.test_threads = Some(1);
    let facts = Facts::find();
    eprintln!("{facts}");
    let trials = [
        derived::CASES,
        descriptors::CASES,
        layered::CASES,
        mounts::CASES,
        stacked::CASES,
        statfs::CASES,
        read_ahead::CASES,
        refusals::CASES,
        verity::CASES,
    ]
    .into_iter()
    .flatten()
    .map(|case| {
        let unmet = facts.mountless.clone().or_else(|| (case.needs)(&facts));
        let run = case.run;
        skip::trial(case.name, unmet.as_deref(), move || {
            let scratch = Scratch::new().map_err(|error| Failed::from(format!("no scratch place: {error}")))?;
            run(&scratch);
            scratch.finish();
            Ok(())
        })
    })
    .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
