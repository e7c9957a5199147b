//! Runs candidates in turns and measures the time they take.
//!
//! The machine is shared and its speed drifts, so every candidate has its turn in each round, and the result is the
//! median of the ratios within a round.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

/// The quantities measured in a run: `time(1)`, which measures the memory, is one more program to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Clock,
    Memory,
}

/// The cost of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// The wall time in seconds.
    pub(crate) wall: f64,
    /// The largest resident set in KiB; 0 where it is not known.
    pub(crate) memory: u64,
}

/// Something to be measured: its name, what comes before each run unmeasured, and the run.
pub(crate) struct Candidate<'a> {
    pub(crate) name: String,
    pub(crate) prepare: Box<dyn Fn() -> Result<()> + 'a>,
    pub(crate) run: Box<dyn Fn(Watch) -> Result<Run> + 'a>,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(name: &str, run: impl Fn(Watch) -> Result<Run> + 'a) -> Self {
        Self { name: name.to_owned(), prepare: Box::new(|| Ok(())), run: Box::new(run) }
    }

    pub(crate) fn prepared(mut self, prepare: impl Fn() -> Result<()> + 'a) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    /// A program with its arguments.
    pub(crate) fn program(name: &str, command: impl Fn() -> Command + 'a) -> Self {
        Self::new(name, move |watch| program(&mut command(), watch))
    }
}

/// The results of one candidate.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// Seconds, a run a round.
    pub(crate) runs: Vec<f64>,
    /// The largest resident set in KiB; 0 where it is not known.
    pub(crate) memory: u64,
}

impl Series {
    pub(crate) fn empty(name: &str) -> Self {
        Self { name: name.to_owned(), runs: Vec::new(), memory: 0 }
    }

    pub(crate) fn wall(&self) -> f64 {
        median(self.runs.iter().copied())
    }

    /// The smallest and the largest time.
    pub(crate) fn span(&self) -> (f64, f64) {
        let walls = self.runs.iter().copied();
        (walls.clone().fold(f64::MAX, f64::min), walls.fold(0.0, f64::max))
    }

    /// Returns how many times as long as `self` the other series takes: the median over the rounds.
    pub(crate) fn speedup_over(&self, other: &Series) -> f64 {
        median(self.runs.iter().zip(&other.runs).map(|(own, other)| other / own))
    }
}

/// Runs all candidates in each of `rounds`, after a round that does not count and before one for the memory.
pub(crate) fn by_turns(rounds: usize, candidates: &[Candidate<'_>]) -> Result<Vec<Series>> {
    let mut series: Vec<_> = candidates.iter().map(|one| Series::empty(&one.name)).collect();
    for round in 0..=rounds + 1 {
        let watch = if round > rounds { Watch::Memory } else { Watch::Clock };
        for (candidate, series) in candidates.iter().zip(&mut series) {
            (candidate.prepare)().with_context(|| format!("preparing {}", candidate.name))?;
            let run = (candidate.run)(watch).with_context(|| candidate.name.clone())?;
            match watch {
                Watch::Memory => series.memory = run.memory,
                Watch::Clock if round == 0 => {}
                Watch::Clock => series.runs.push(run.wall),
            }
        }
    }
    Ok(series)
}

/// Times a piece of this program.
pub(crate) fn here(work: impl FnOnce() -> Result<()>) -> Result<Run> {
    let start = Instant::now();
    work()?;
    Ok(Run { wall: start.elapsed().as_secs_f64(), memory: 0 })
}

/// Times a program, or asks time(1) for its memory.
pub(crate) fn program(command: &mut Command, watch: Watch) -> Result<Run> {
    let report = tempfile::NamedTempFile::new()?;
    let mut timed = Command::new(command.get_program());
    if watch == Watch::Memory {
        timed = Command::new("/usr/bin/time");
        timed.args(["--format=%M", "--output"]).arg(report.path()).arg(command.get_program());
    }
    timed.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(directory) = command.get_current_dir() {
        timed.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => timed.env(name, value),
            None => timed.env_remove(name),
        };
    }
    let start = Instant::now();
    let output = timed.output().with_context(|| format!("cannot run {}", timed.get_program().display()))?;
    let wall = start.elapsed().as_secs_f64();
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let memory = match watch {
        Watch::Clock => 0,
        Watch::Memory => std::fs::read_to_string(report.path())?.trim().parse().context("odd report of time(1)")?,
    };
    Ok(Run { wall, memory })
}

/// Returns the middle value; of an even number of values, the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}
