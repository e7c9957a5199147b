//! Reading the report of Rust test programs, line by line: libtest's and libtest-mimic's alike, and cargo's words
//! between.

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::Suite;

/// A reader of such a report.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    suites: Vec<Suite>,
    kind: String,
    name: String,
    /// Reasons for skipped tests, as the tests printed them.
    reasons: BTreeMap<String, String>,
}

impl Reader {
    /// For the report of one program, without cargo's words around it.
    pub(crate) fn of_program(kind: &str, name: &str) -> Self {
        Self { kind: kind.to_owned(), name: name.to_owned(), ..Self::default() }
    }

    /// Takes the next line.
    pub(crate) fn line(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            // cargo's: `Running unittests src/lib.rs (target/.../name-hash)`, `Doc-tests name`
            ["Running", "unittests", _, program] => self.enter("unit", target_name(program)),
            ["Running", source, program] if source.ends_with(".rs") => {
                let target = target_name(program);
                self.enter(kind_of(target), target);
            }
            ["Doc-tests", name] => self.enter("doc", name),
            ["running", _, "tests" | "test"] => {
                let (kind, name) = (self.kind.clone(), self.name.clone());
                self.suites.push(Suite { kind, name, ..Suite::default() });
            }
            ["test", "result:", ..] => self.totals(&words),
            ["test", ..] if line.contains(" ... ") => self.test(line),
            // The tests' own: `SKIPPED name: reason`
            ["SKIPPED", name, ..] => {
                let reason = line.split_once(name).map_or("", |(_, reason)| reason).trim().to_owned();
                self.reasons.insert(name.trim_end_matches(':').to_owned(), reason);
            }
            _ => {}
        }
    }

    /// The suites read. One that did not come to its end has failed.
    pub(crate) fn finish(mut self) -> Vec<Suite> {
        for suite in self.suites.iter_mut().filter(|suite| !suite.finished) {
            suite.failed += 1;
            suite.failures.push("the program ended without a result".to_owned());
        }
        for (name, reason) in self.suites.iter_mut().flat_map(|suite| &mut suite.skips) {
            if let Some(told) = self.reasons.get(name).filter(|_| reason.is_empty()) {
                told.clone_into(reason);
            }
        }
        self.suites
    }

    fn enter(&mut self, kind: &str, name: &str) {
        kind.clone_into(&mut self.kind);
        name.clone_into(&mut self.name);
    }

    fn test(&mut self, line: &str) {
        let Some(suite) = self.suites.last_mut() else { return };
        let Some((name, outcome)) = line.trim().trim_start_matches("test ").rsplit_once(" ... ") else { return };
        let name = name.trim_end_matches(" - should panic").trim().to_owned();
        match outcome.split_once(',').unwrap_or((outcome, "")) {
            ("ok", _) => suite.passes.push(name),
            ("FAILED", _) => suite.failures.push(name),
            ("ignored", reason) => suite.skips.push((name, reason.trim().to_owned())),
            _ => {}
        }
    }

    /// `test result: ok. 3 passed; 0 failed; 1 ignored; ...`: the counts that hold, whatever was printed between.
    fn totals(&mut self, words: &[&str]) {
        let Some(suite) = self.suites.last_mut() else { return };
        let count = |name: &str| {
            let at = words.iter().position(|word| word.trim_end_matches(';') == name)?;
            words[at.checked_sub(1)?].parse().ok()
        };
        if let (Some(passed), Some(failed), Some(skipped)) = (count("passed"), count("failed"), count("ignored")) {
            (suite.passed, suite.failed, suite.skipped, suite.finished) = (passed, failed, skipped, true);
            suite.took = words.last().and_then(|word| seconds(word)).unwrap_or_default();
        }
    }
}

/// Reads a time as libtest prints it: `1.25s`.
fn seconds(word: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(word.strip_suffix('s')?.parse().ok()?).ok()
}

/// The kind of an integration test, by the name of its target.
pub(crate) fn kind_of(target: &str) -> &str {
    match target.split(['_', '-']).next().unwrap_or(target) {
        kind @ ("golden" | "property" | "reference" | "kernel" | "cli") => kind,
        "random" => "property",
        "mkcomposefs" | "mount" => "cli",
        _ => "integration",
    }
}

/// The target's name in `(target/debug/deps/name-0123456789abcdef)`.
fn target_name(program: &str) -> &str {
    let file = program.trim_matches(['(', ')']).rsplit('/').next().unwrap_or_default();
    file.rsplit_once('-').map_or(file, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_report() {
        let mut reader = Reader::default();
        for line in "     Running unittests src/lib.rs (target/debug/deps/libcomposefs_image-0c)\n\nrunning 3 tests\n\
            test a::b ... ok\ntest a::c - should panic ... ok\ntest d ... ignored, no root\n\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.25s\n\n\
            \x20    Running tests/golden_dumps.rs (target/debug/deps/golden_dumps-0f)\n\nrunning 1 test\n\
            test good ... FAILED\n\nfailures:\n\n---- good stdout ----\ntest went wrong\n\
            test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            \x20  Doc-tests libcomposefs_image\n\nrunning 1 test\n"
            .lines()
        {
            reader.line(line);
        }
        let suites = reader.finish();
        let brief: Vec<_> = suites.iter().map(|s| (s.kind.as_str(), s.passed, s.failed, s.skipped)).collect();
        assert_eq!(brief, [("unit", 2, 0, 1), ("golden", 0, 1, 0), ("doc", 0, 1, 0)]);
        assert_eq!(suites[0].skips, [("d".to_owned(), "no root".to_owned())]);
        assert_eq!(suites[0].passes, ["a::b", "a::c"]);
        assert_eq!(suites[1].failures, ["good"]);
        assert_eq!(suites[1].name, "golden_dumps");
        assert_eq!(suites[0].took, Duration::from_millis(1250));
        assert_eq!(suites[2].failures, ["the program ended without a result"]);
    }

    #[test]
    fn the_report_of_a_guest() {
        let mut reader = Reader::of_program("vm", "6.1");
        for line in [
            "running 2 tests",
            "test a ... ok",
            "test b ... ignored",
            "SKIPPED b: no fuse",
            "test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        ] {
            reader.line(line);
        }
        let suites = reader.finish();
        assert_eq!((suites[0].passed, suites[0].skipped), (1, 1));
        assert_eq!(suites[0].skips, [("b".to_owned(), "no fuse".to_owned())]);
    }
}
