//! The fuzz targets, each for a short time: enough to see that they run and that nothing is found at once.

use anyhow::Result;

use super::Options;
use super::report::{Report, Suite};
use crate::fuzz::{self, TARGETS};

/// Of each target. Two run at a time, so eight of them would take two minutes.
const SECONDS: u32 = 30;
const SECONDS_OF_LONG_FORM: u32 = 300;

pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let named = |name: &str| options.filter.as_ref().is_none_or(|part| name.contains(part));
    let targets: Vec<_> = TARGETS.iter().filter(|target| options.wants("fuzz") && named(target.name)).collect();
    if targets.is_empty() {
        return Ok(());
    }
    let seconds = if options.full { SECONDS_OF_LONG_FORM } else { SECONDS };
    for run in fuzz::feed(targets.into_iter(), seconds)? {
        let name = format!("{}, {} executions", run.target, run.executions);
        report.extend([match run.failure {
            None => Suite { kind: "fuzz".into(), name, passed: 1, finished: true, ..Suite::default() },
            Some(failure) => Suite::broken("fuzz", &name, failure),
        }]);
    }
    Ok(())
}
