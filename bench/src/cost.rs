//! The wall time, CPU time and memory of programs, as time(1) has them.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use crate::measure::median;

/// The cost of one run, or the median of several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// Wall time in seconds.
    pub(crate) wall: f64,
    /// CPU time in seconds, with that of child processes.
    pub(crate) cpu: f64,
    /// Largest resident set of one process, in MB.
    pub(crate) memory: f64,
}

impl Cost {
    /// Runs a program. It must succeed.
    pub(crate) fn of(command: &Command) -> Result<Self> {
        Ok(Self::with_output(command)?.0)
    }

    /// Runs a program. It must succeed. Returns its standard output too.
    pub(crate) fn with_output(command: &Command) -> Result<(Self, Vec<u8>)> {
        let report = tempfile::NamedTempFile::new()?;
        let mut timed = Command::new("/usr/bin/time");
        timed.arg("--format=%U %S %M").arg("--output").arg(report.path());
        timed.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => timed.env(name, value),
                None => timed.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            timed.current_dir(directory);
        }
        let start = Instant::now();
        let output = timed.stdin(Stdio::null()).output().context("cannot run time(1)")?;
        let wall = start.elapsed().as_secs_f64();
        if !output.status.success() {
            bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        let text = std::fs::read_to_string(report.path())?;
        let figures: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(figures.len() == 3, "odd report of time(1): {text}");
        Ok((Self { wall, cpu: figures[0] + figures[1], memory: figures[2] * 1024.0 / 1e6 }, output.stdout))
    }

    /// Returns the median of each figure.
    pub(crate) fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure));
        Self { wall: of(|run| run.wall), cpu: of(|run| run.cpu), memory: of(|run| run.memory) }
    }
}
