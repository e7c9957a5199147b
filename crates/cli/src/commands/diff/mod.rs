//! `composefs diff`: prints the differences between two trees, grouped by cause.

pub(super) mod compare;
mod facts;
pub(super) mod json_report;
pub(super) mod labels;
pub(super) mod options;
pub(super) mod text_report;

use std::io::Write;
use std::process::ExitCode;

pub(super) use options::DiffArgs;

use compare::{LoadedSides, TreeComparison};
use options::DiffRequest;

use super::repository::RepositoryArgs;
use crate::exit::exit_answer;
use crate::output;

/// Runs the command and returns its exit status.
pub(super) fn run(args: &DiffArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_answer(DiffRequest::check(args.clone()).and_then(|request| run_request(&request, selected)))
}

fn run_request(request: &DiffRequest, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let mut out = output::data();
    let Some(pair) = LoadedSides::load(request, selected)? else {
        if request.json {
            json_report::write_identical(&mut out)?;
        }
        out.flush()?;
        return Ok(true);
    };
    let comparison = TreeComparison::new(request, &pair)?;
    let is_equal = comparison.is_equal();
    match (request.quiet, request.json) {
        (true, _) => {}
        (false, true) => json_report::write(&comparison, &mut out)?,
        (false, false) if is_equal => {}
        (false, false) => text_report::write(&comparison, &mut out)?,
    }
    out.flush()?;
    Ok(is_equal)
}
