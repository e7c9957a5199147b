//! Containers started by `composefs oci run` and bundles of `composefs oci bundle`, with crun or runc.
//!
//! This program runs the code of the commands on a directory in place of a mounted image, if its first argument is
//! `container` or `bundle`, so that it needs no repository.

mod bundle;
mod child;
mod fixture;
mod lifetime;
mod options;
mod process;
#[path = "../../src/commands/oci/run/mod.rs"]
#[allow(dead_code, unused_imports, reason = "a module of the program under test")]
mod run;

/// The completion of names, which this program does not have.
mod complete {
    use std::ffi::OsStr;

    use clap_complete::CompletionCandidate;

    pub(crate) fn oci_names(_begun: &OsStr) -> Vec<CompletionCandidate> {
        Vec::new()
    }
}

use libcomposefs_testkit::skip;
use libtest_mimic::{Arguments, Failed};

use fixture::{ContainerImage, unmet};

type ContainerCase = (&'static str, fn(&ContainerImage));

const CASES: &[ContainerCase] = &[
    ("a_bundle_is_run_by_the_runtime", bundle::is_run_by_the_runtime),
    ("a_failed_bundle_leaves_nothing", bundle::failed_leaves_nothing),
    ("changes_do_not_reach_the_image", lifetime::changes_do_not_reach_the_image),
    ("signals_are_those_of_the_command", lifetime::signals_are_those_of_the_command),
    ("a_failure_leaves_nothing", lifetime::a_failure_leaves_nothing),
    ("the_directory_of_a_killed_process_is_removed", lifetime::a_killed_process_is_cleaned_up),
    ("exit_statuses_are_those_of_podman", lifetime::exit_statuses_are_those_of_podman),
    ("volumes_and_tmpfs_are_mounted", options::volumes_and_tmpfs_are_mounted),
    ("a_read_only_root_has_writable_directories", options::read_only),
    ("the_network_is_none_or_the_hosts", options::network),
    ("standard_input_is_kept_only_if_asked", options::standard_input),
    ("a_terminal_is_given", options::terminal),
    ("a_terminal_changes_its_size", options::terminal_changes_its_size),
    ("options_without_a_meaning_are_refused", options::refused),
    ("the_process_is_confined_as_in_podman", process::is_confined_as_in_podman),
    ("the_mounts_are_those_of_podman", process::mounts_are_those_of_podman),
    ("the_user_is_that_of_the_image", process::user_is_that_of_the_image),
    ("privileged_calls_are_refused", process::privileged_calls_are_refused),
];

fn main() {
    if let Some(status) = child::answer() {
        std::process::exit(status);
    }
    let arguments = Arguments::from_args();
    let unmet = unmet();
    let trials = CASES.iter().map(|&(name, case)| {
        skip::trial(name, unmet.as_deref(), move || {
            let image = ContainerImage::new().map_err(|error| Failed::from(format!("no image: {error}")))?;
            case(&image);
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
