//! The results of all tests, printed as one table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, Instant};

/// The results of one test program, or of one suite in a guest.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Suite {
    /// unit, golden, property, cli, vm, ...
    pub(crate) kind: String,
    /// The program or kernel.
    pub(crate) name: String,
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
    pub(crate) failures: Vec<String>,
    /// Name and reason of each skipped test, as far as they are known.
    pub(crate) skips: Vec<(String, String)>,
    /// True if the program reported its end.
    pub(crate) finished: bool,
    /// The names of the tests that passed: a skip found out later is taken from these.
    pub(crate) passes: Vec<String>,
    /// Wall time of the run, without the build of the program.
    pub(crate) took: Duration,
}

impl Suite {
    /// A suite that could not be run at all: one failure, with this as its name.
    pub(crate) fn broken(kind: &str, name: &str, reason: String) -> Self {
        let failures = vec![reason];
        Self { kind: kind.into(), name: name.into(), failed: 1, failures, finished: true, ..Self::default() }
    }

    pub(crate) fn has_passed(&self, test: &str) -> bool {
        self.passes.iter().any(|name| name == test)
    }

    /// Counts a test that reported success but said that it could not run.
    pub(crate) fn turn_into_skip(&mut self, test: &str, reason: &str) {
        self.passes.retain(|name| name != test);
        self.passed -= 1;
        self.skipped += 1;
        self.skips.push((test.to_owned(), reason.to_owned()));
    }
}

/// Results of all suites and steps.
#[derive(Debug, Default)]
pub(crate) struct Report {
    suites: Vec<Suite>,
    /// Name and wall time of the steps of the task, some of which run at the same time, and the CPU time of all
    /// processes that had ended by the end of the step.
    steps: Vec<(&'static str, Duration, Option<Duration>)>,
}

/// A row of the table.
#[derive(Default)]
struct Row {
    counts: [u32; 3],
    took: Duration,
}

impl Report {
    pub(crate) fn extend(&mut self, suites: impl IntoIterator<Item = Suite>) {
        self.suites.extend(suites);
    }

    /// Adds a step of the task that began at `start` and ends now.
    pub(crate) fn step(&mut self, name: &'static str, start: Instant) {
        self.steps.push((name, start.elapsed(), cpu_time_of_children()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.suites.iter().all(|suite| suite.passed + suite.failed + suite.skipped == 0)
    }

    pub(crate) fn failed(&self) -> u32 {
        self.suites.iter().map(|suite| suite.failed).sum()
    }

    pub(crate) fn skipped(&self) -> u32 {
        self.suites.iter().map(|suite| suite.skipped).sum()
    }

    /// A test that skipped in one place for want of something has been run all the same if it passed in another, with
    /// another kernel: it is no longer counted as skipped.
    pub(crate) fn settle(&mut self) {
        let run: BTreeSet<String> = self.suites.iter().flat_map(|suite| suite.passes.iter().cloned()).collect();
        for suite in self.suites.iter_mut().filter(|suite| ["kernel", "vm"].contains(&suite.kind.as_str())) {
            let before = suite.skips.len();
            suite.skips.retain(|(test, _)| !run.contains(test));
            suite.skipped -= (before - suite.skips.len()) as u32;
        }
    }

    /// Prints the table, the times of the steps, the skipped and the failed tests, and the totals as the last line.
    pub(crate) fn print(&self) {
        let mut rows: BTreeMap<String, Row> = BTreeMap::new();
        let mut totals = [0; 3];
        for suite in &self.suites {
            // Each kernel, fuzz target and engine is a row of its own; test programs of a kind share one.
            let name = match suite.kind.as_str() {
                kind @ ("vm" | "fuzz" | "e2e") => format!("{kind} {}", suite.name),
                kind => kind.to_owned(),
            };
            let row = rows.entry(name).or_default();
            row.took += suite.took;
            let counts = [suite.passed, suite.failed, suite.skipped];
            for ((row, total), count) in row.counts.iter_mut().zip(&mut totals).zip(counts) {
                *row += count;
                *total += count;
            }
        }
        println!("\n{:44}{:>8}{:>8}{:>8}{:>9}", "kind", "passed", "failed", "skipped", "seconds");
        for (kind, Row { counts: [passed, failed, skipped], took }) in rows {
            println!("{kind:44}{passed:>8}{failed:>8}{skipped:>8}{:>9.1}", took.as_secs_f32());
        }
        for (name, took, cpu) in &self.steps {
            let cpu = cpu.map_or(String::new(), |cpu| format!(", {:.0} s of CPU until here", cpu.as_secs_f32()));
            println!("{:68}{:>9.1}", format!("step: {name}{cpu}"), took.as_secs_f32());
        }
        for suite in &self.suites {
            for (test, reason) in &suite.skips {
                println!("skipped: {} {}: {test}: {reason}", suite.kind, suite.name);
            }
        }
        for suite in &self.suites {
            for test in &suite.failures {
                println!("FAILED: {} {}: {test}", suite.kind, suite.name);
            }
        }
        let [passed, failed, skipped] = totals;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
    }
}

/// The CPU time of all processes that this process has waited for, with their own children; `None` if the kernel does
/// not tell it.
fn cpu_time_of_children() -> Option<Duration> {
    children_in_stat(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The sum of `cutime` and `cstime` of a line of `/proc/PID/stat` (proc_pid_stat(5)), which count hundredths of a
/// second.
fn children_in_stat(stat: &str) -> Option<Duration> {
    // The name of the program may hold anything, also spaces.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(13).take(2).map(|field| field.parse::<u64>().ok());
    Some(Duration::from_millis((times.next()?? + times.next()??) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_read_from_stat() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 200 0 0 11 12 1300 145 20 0 1 0 1000";
        assert_eq!(children_in_stat(stat), Some(Duration::from_millis(14_450)));
        assert_eq!(children_in_stat("7 (a) S 1"), None);
    }
}
