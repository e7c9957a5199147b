//! Boots by the real kernel: the program sets up roots in mount namespaces of their own, with a `/run` of their own.
//!
//! On a file system with fs-verity (`TMPDIR`) it is required, else every command line has `?`. `COMPOSEFS_SETUP_ROOT`
//! names another build of the program, `COMPOSEFS_SETUP_ROOT_BY_NAME` one with the feature `name`.

mod boots;
mod damage;
mod names;
mod refusals;
mod scene;
mod signer;
mod state;

use libcomposefs_testkit::skip;
use libtest_mimic::{Arguments, Failed};

use scene::{BootFacts, Scene};

/// One test: its name, what it needs beyond mounting at all, what it does.
struct Case {
    name: &'static str,
    needs: fn(&BootFacts) -> Option<String>,
    run: fn(&Scene),
}

fn nothing(_: &BootFacts) -> Option<String> {
    None
}

fn fs_verity(facts: &BootFacts) -> Option<String> {
    facts.no_verity()
}

/// fs-verity, and a program that boots by name.
fn boot_by_name(facts: &BootFacts) -> Option<String> {
    let missing = "the program has no boot by name: cargo test --features name".to_owned();
    facts.no_verity().or_else(|| scene::named_program().is_none().then_some(missing))
}

/// fs-verity in a kernel whose overlayfs does not use it.
fn old_overlayfs(facts: &BootFacts) -> Option<String> {
    let new = "overlayfs of this kernel verifies files".to_owned();
    if facts.no_overlay_verity.is_none() { Some(new) } else { facts.no_fs_verity.clone() }
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let facts = BootFacts::find();
    let groups = [
        ("boots", boots::CASES),
        ("damage", damage::CASES),
        ("names", names::CASES),
        ("refusals", refusals::CASES),
        ("state", state::CASES),
    ];
    let cases = groups.into_iter().flat_map(|(group, cases)| cases.iter().map(move |case| (group, case)));
    let trials = cases.map(|(group, case)| {
        let unmet = facts.mountless.clone().or_else(|| (case.needs)(&facts));
        let (run, has_verity) = (case.run, facts.no_verity().is_none());
        skip::trial(&format!("boot::{group}::{}", case.name), unmet.as_deref(), move || {
            run(&Scene::new(has_verity).map_err(|error| Failed::from(format!("no scene: {error}")))?);
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
