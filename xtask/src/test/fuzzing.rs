//! The fuzz targets, each for a short time: enough to see that they run and that nothing is found at once.

use std::time::Duration;

use anyhow::Result;

use super::Options;
use super::report::Suite;
use crate::fuzz::{self, Length, Sanitizer, TARGETS, Target};

/// Seconds that all targets take together, without their build.
const SECONDS_OF_ALL: u32 = 80;
/// Seconds that each target takes in the long form.
const SECONDS_OF_LONG_FORM: u32 = 300;
/// The number that the short form derives its inputs from: a run that fails fails again, and so does one of the commit
/// before, so that a failure is one of the change that is tested. The long form searches.
const SEED_OF_SHORT_FORM: u32 = 1;

/// The seconds that each of some targets gets so that all of them are done in [`SECONDS_OF_ALL`].
fn seconds_of_each(targets: usize) -> u32 {
    let one_after_another = u32::try_from(targets.div_ceil(fuzz::AT_ONCE)).unwrap_or(u32::MAX);
    (SECONDS_OF_ALL / one_after_another.max(1)).max(1)
}

/// The targets that the options select. The short form uses no sanitizer: a build with one compiles all crates once
/// more, for minutes, and a few seconds of running find little.
fn targets(options: &Options) -> Vec<Target> {
    let named = |name: &str| options.filter.as_ref().is_none_or(|part| name.contains(part));
    let wanted = TARGETS.iter().filter(|target| options.wants("fuzz") && named(target.name)).copied();
    wanted.map(|target| if options.full { target } else { Target { sanitizer: Sanitizer::None, ..target } }).collect()
}

/// Builds the selected targets.
pub(super) fn build(options: &Options) -> Result<()> {
    match targets(options).as_slice() {
        [] => Ok(()),
        targets => fuzz::build(targets),
    }
}

/// Runs the selected targets, two at a time.
pub(super) fn run(options: &Options) -> Result<Vec<Suite>> {
    let targets = targets(options);
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    // A target runs as long when it is chosen by a filter.
    let length = match options.full {
        true => Length { seconds: SECONDS_OF_LONG_FORM, seed: None },
        false => Length { seconds: seconds_of_each(TARGETS.len()), seed: Some(SEED_OF_SHORT_FORM) },
    };
    let took = Duration::from_secs(length.seconds.into());
    let suite = |run: fuzz::Run| {
        let name = format!("{}, {} executions", run.target, run.executions);
        match run.failure {
            None => Suite { kind: "fuzz".into(), name, passed: 1, finished: true, took, ..Suite::default() },
            Some(failure) => Suite::broken("fuzz", &name, failure),
        }
    };
    Ok(fuzz::feed(targets.into_iter(), length)?.into_iter().map(suite).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_targets_share_the_time() {
        assert_eq!(seconds_of_each(0), SECONDS_OF_ALL);
        for targets in 1..=600_usize {
            let rounds = u32::try_from(targets.div_ceil(fuzz::AT_ONCE)).unwrap();
            let (used, each) = (rounds * seconds_of_each(targets), seconds_of_each(targets));
            assert!(used <= SECONDS_OF_ALL || each == 1, "{targets} targets take {used} seconds");
            assert!(used + rounds > SECONDS_OF_ALL, "{targets} targets take only {used} seconds");
        }
    }
}
