//! Reading what a program of libFuzzer says.

/// The result of a run, read from its output.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Number of executions of the target.
    pub(crate) executions: u64,
    pub(crate) per_second: u64,
    /// Number of covered edges of the code.
    pub(crate) coverage: u64,
    /// The file with the input that ended the run.
    pub(crate) artefact: Option<String>,
    /// The most that each reader used of its budget.
    pub(crate) budgets: Vec<String>,
    /// Output before the end, without the progress lines.
    pub(crate) said: Vec<String>,
}

impl Outcome {
    /// Takes the next line. Tells whether it is a sign of life, as there is one every so often.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        let statistic = |name: &str| line.strip_prefix(name)?.trim().parse().ok();
        if let Some(progress) = line.strip_prefix('#') {
            let mut words = progress.split_whitespace();
            let count = words.next().and_then(|count| count.parse().ok()).unwrap_or_default();
            self.executions = self.executions.max(count);
            let mut words = words.skip_while(|word| *word != "cov:").skip(1);
            self.coverage = words.next().and_then(|word| word.parse().ok()).unwrap_or(self.coverage);
            return line.contains("\tpulse ");
        }
        if let Some(count) = statistic("stat::number_of_executed_units:") {
            self.executions = count;
        } else if let Some(count) = statistic("stat::average_exec_per_sec:") {
            self.per_second = count;
        } else if let Some((_, file)) = line.split_once("Test unit written to ") {
            self.artefact = Some(file.trim().to_owned());
        } else if let Some(used) = line.strip_prefix("budget: ") {
            self.budgets.retain(|before| before.split(':').next() != used.split(':').next());
            self.budgets.push(used.to_owned());
        } else {
            self.said.push(line.to_owned());
        }
        false
    }

    /// Returns the reason for the end of the run, as one line.
    pub(crate) fn reason(&self) -> String {
        let says = |word: &str| self.said.iter().position(|line| line.contains(word));
        match [" panicked at ", "memory allocation", "ERROR: "].into_iter().find_map(says) {
            // The message of a panic is on the next line.
            Some(at) if self.said[at].contains(" panicked at ") => {
                self.said[at..].iter().take(2).cloned().collect::<Vec<_>>().join(" ")
            }
            Some(at) => self.said[at].clone(),
            None => "no reason given".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_to_its_end() {
        let mut outcome = Outcome::default();
        assert!(!outcome.line("INFO: Running with entropic power schedule (0xFF, 100)."));
        assert!(!outcome.line("#160\tINITED cov: 1289 ft: 4098 corp: 138/409Kb exec/s: 0 rss: 33Mb"));
        assert!(outcome.line("#4096\tpulse  cov: 1300 ft: 5123 corp: 712/1Mb lim: 6740 exec/s: 2048 rss: 34Mb"));
        assert_eq!((outcome.executions, outcome.coverage), (4096, 1300));
        assert!(!outcome.line("#67931\tDONE   cov: 1379 ft: 5959 corp: 899/3239Kb lim: 48882 exec/s: 4245 rss: 34Mb"));
        assert!(!outcome.line("stat::number_of_executed_units: 67931"));
        assert!(!outcome.line("stat::average_exec_per_sec:     4245"));
        let want = Outcome { executions: 67931, per_second: 4245, coverage: 1379, ..Outcome::default() };
        assert_eq!(Outcome { said: Vec::new(), ..outcome }, want);
    }

    #[test]
    fn the_last_use_of_each_budget_is_kept() {
        let mut outcome = Outcome::default();
        for line in ["budget: a: at most 10 %", "budget: b: at most 20 %", "budget: a: at most 30 %"] {
            assert!(!outcome.line(line));
        }
        assert_eq!(outcome.budgets, ["b: at most 20 %", "a: at most 30 %"]);
    }

    #[test]
    fn a_crash() {
        let mut outcome = Outcome::default();
        for line in [
            "#3\tpulse  cov: 7 ft: 8 corp: 1/1b exec/s: 1 rss: 33Mb",
            "",
            "thread '<unnamed>' (7) panicked at fuzz/fuzz_targets/dump.rs:22:30:",
            "accepted in strict mode alone",
            "==7== ERROR: libFuzzer: deadly signal",
            "artifact_prefix='/t/dump/'; Test unit written to /t/dump/crash-da39",
        ] {
            outcome.line(line);
        }
        let want = "thread '<unnamed>' (7) panicked at fuzz/fuzz_targets/dump.rs:22:30: accepted in strict mode alone";
        assert_eq!(outcome.reason(), want);
        assert_eq!(outcome.artefact.as_deref(), Some("/t/dump/crash-da39"));
        let mut outcome = Outcome::default();
        outcome.line("==7== ERROR: libFuzzer: timeout after 5 seconds");
        assert_eq!(outcome.reason(), "==7== ERROR: libFuzzer: timeout after 5 seconds");
    }
}
