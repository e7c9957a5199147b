//! Tables, and the ratios that are held to.

use crate::measure::Series;

/// The goal of a comparison: the ratio measured and the one wanted, as "at least" figures.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) ratio: f64,
    pub(crate) wanted: f64,
}

impl Goal {
    pub(crate) fn is_met(&self) -> bool {
        self.ratio >= self.wanted
    }

    /// Returns true if the ratio falls short by more than noise can explain.
    pub(crate) fn is_missed_clearly(&self) -> bool {
        self.ratio < 0.9 * self.wanted
    }
}

/// All that a run has found, printed as it comes.
#[derive(Debug, Default)]
pub(crate) struct Report {
    goals: Vec<Goal>,
}

impl Report {
    pub(crate) fn heading(&self, text: &str) {
        println!("\n### {text}\n");
    }

    /// A Markdown table of times. `bytes`, if it is not 0, adds the throughput.
    pub(crate) fn table(&self, series: &[Series], bytes: u64) {
        let throughput = if bytes > 0 { " GB/s |" } else { "" };
        println!("| what | median s | min | max | memory |{throughput}");
        println!("|---|---|---|---|---|{}", if bytes > 0 { "---|" } else { "" });
        for one in series {
            let (min, max) = one.span();
            let memory = match one.memory {
                0 => "-".to_owned(),
                kib => format!("{:.0} MB", kib as f64 * 1024.0 / 1e6),
            };
            let rate = if bytes > 0 { format!(" {:.2} |", bytes as f64 / one.wall() / 1e9) } else { String::new() };
            let digits = if one.wall() < 0.01 { 5 } else { 3 };
            println!("| {} | {:.digits$} | {min:.digits$} | {max:.digits$} | {memory} |{rate}", one.name, one.wall());
        }
        println!();
    }

    /// A ratio that nothing is asked of here.
    pub(crate) fn figure(&self, what: impl std::fmt::Display, ratio: f64) {
        println!("* {what}: {ratio:.2}");
    }

    pub(crate) fn goal(&mut self, what: impl Into<String>, ratio: f64, wanted: f64) {
        let goal = Goal { what: what.into(), ratio, wanted };
        let verdict = if goal.is_met() { "met" } else { "MISSED" };
        println!("* {}: {:.2} (wanted: at least {wanted:.2}): {verdict}", goal.what, goal.ratio);
        self.goals.push(goal);
    }

    /// The goals that are missed by more than a tenth.
    pub(crate) fn regressions(&self) -> Vec<&Goal> {
        self.goals.iter().filter(|goal| goal.is_missed_clearly()).collect()
    }
}
