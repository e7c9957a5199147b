//! Runs a command, and sends it the signals of its fate.

use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::schedule::Fate;

/// Maximum time of a command, including stops and waiting for other processes. A longer one counts as hanging.
const NEVER: Duration = Duration::from_secs(180);

/// Outcome of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It succeeded, with this output.
    Done(String),
    /// It failed, with this status and message.
    Failed(i32, String),
    /// It was killed by the signal that was sent, and may have done everything or nothing.
    Killed,
    /// It was killed by an unknown signal, panicked, or did not end.
    Broken(String),
}

/// Signals that are sent to a command, with their times.
fn events(fate: Fate) -> Vec<(Duration, Signal)> {
    match fate {
        Fate::Runs => vec![],
        Fate::Ends { after, signal } => vec![(after, signal)],
        Fate::Stops { after, length } => vec![(after, Signal::STOP), (after + length, Signal::CONT)],
        Fate::StopsAndEnds { after, length, signal } => {
            vec![(after, Signal::STOP), (after + length, signal), (after + length, Signal::CONT)]
        }
        Fate::Stutters { runs, stops } => (0..40)
            .flat_map(|time| {
                let stop = (runs + stops) * time + runs;
                [(stop, Signal::STOP), (stop + stops, Signal::CONT)]
            })
            .collect(),
    }
}

/// Runs a command and waits for its end.
pub(crate) fn run(mut command: Command, fate: Fate) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let pid = Pid::from_child(&child);
    let start = Instant::now();
    let mut events = events(fate);
    events.reverse();
    let mut sent = Vec::new();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        while events.last().is_some_and(|(at, _)| *at <= start.elapsed()) {
            let (_, signal) = events.pop().unwrap();
            kill_process_group(pid, signal).unwrap();
            sent.push(signal.as_raw());
        }
        if start.elapsed() > NEVER {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
            return Ended::Broken(format!("it did not end: {command:?}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    let said = || format!("{}{}", String::from_utf8_lossy(&stderr), String::from_utf8_lossy(&stdout));
    match (status.code(), status.signal()) {
        (Some(0), _) => Ended::Done(String::from_utf8_lossy(&stdout).into_owned()),
        (Some(code), _) if code >= 128 && sent.contains(&(code - 128)) => Ended::Killed,
        (_, Some(signal)) if sent.contains(&signal) => Ended::Killed,
        (Some(code), _) if code < 100 => Ended::Failed(code, said()),
        _ => Ended::Broken(format!("{status}: {}", said())),
    }
}
