//! A repository at every instant: what a workload wrote to its disk is recorded, and the disk is judged as it would be
//! if the power had gone at one point or another of the list, with what was not flushed kept, lost, or lost in part.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::kernel::Kernel;
use crate::test::programs::Programs;
use crate::vm::disk::make_ext4_of;
use crate::vm::volatile_disk::Served;
use crate::vm::volatile_disk::recorded::{CONTROL_LEN, Event, RecordedDisk, ReplayedDisk};
use crate::vm::{Disk, End, Exit, Machine};

const WORKLOAD: &str = include_str!("workload.sh");
const CONTROL: &str = include_str!("control.sh");
const JUDGE: &str = include_str!("judge.sh");

const MIB: u64 = 96;
/// Two machines judge at once.
const MACHINES: usize = 2;
/// Time limits of a guest, which are reached only if it hangs: one for the start and the workload, and one for each
/// point.
const TIMEOUT: Duration = Duration::from_secs(1200);
const TIMEOUT_OF_POINT: Duration = Duration::from_secs(20);

/// Expected result of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Workload {
    /// Every point is well.
    Ours,
    /// Some are not: the proof that the judge sees it.
    Wrong,
}

/// Records a run and checks it at about this number of points.
pub(super) fn run(workload: Workload, points: usize, rounds: u32, programs: &Programs) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let script = if workload == Workload::Ours { WORKLOAD } else { CONTROL };
    let base = dir.path().join("base");
    File::create(&base)?.set_len(MIB << 20)?;
    make_ext4_of(&base, true, Some(MIB - 1))?;
    let events = record(dir.path(), &base, &format!("ROUNDS={rounds}\n{script}"), programs)?;
    let points = choose(&events, points)?;
    let count = points.len();
    let events = Arc::new(events);
    let measure = if workload == Workload::Ours { "measure" } else { "" };
    // Each machine goes forward only.
    let shares: Vec<Vec<String>> = (0..MACHINES)
        .map(|machine| {
            points.iter().skip(machine * count.div_ceil(MACHINES)).take(count.div_ceil(MACHINES)).cloned().collect()
        })
        .collect();
    let verdicts: Vec<Result<Verdict>> = std::thread::scope(|scope| {
        let judge = |(number, share): (usize, &Vec<String>)| {
            let socket = dir.path().join(format!("judged{number}"));
            let (base, events, share) = (base.clone(), Arc::clone(&events), share.clone());
            scope.spawn(move || judge(&base, events, &socket, &share, measure, programs))
        };
        let threads: Vec<_> = shares.iter().enumerate().map(judge).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a judge panicked"))).collect()
    });
    let mut all = Verdict::default();
    for verdict in verdicts {
        let verdict = verdict?;
        all.judged += verdict.judged;
        all.bad += verdict.bad;
        all.repaired += verdict.repaired;
        all.problems.extend(verdict.problems);
    }
    ensure!(all.judged == count && count > 0, "{} of {count} points were judged", all.judged);
    let writes = events.iter().filter(|event| matches!(event, Event::Write { .. })).count();
    let flushes = events.iter().filter(|event| **event == Event::Flush).count();
    let seen =
        format!("{count} points of {writes} writes and {flushes} flushes, {} bad, {} repaired", all.bad, all.repaired);
    match workload {
        Workload::Ours => ensure!(all.bad == 0, "{seen}\n{}", all.problems.join("\n")),
        Workload::Wrong => ensure!(all.bad > 0, "{seen}: the judge sees nothing"),
    }
    Ok(seen)
}

/// Runs the workload on a copy of the disk; gives all that happened to it.
fn record(dir: &Path, base: &Path, script: &str, programs: &Programs) -> Result<Vec<Event>> {
    let (file, socket) = (dir.join("recorded"), dir.join("recorded.sock"));
    fs::copy(base, &file)?;
    let served = Served::start(RecordedDisk::open(&file)?, &socket)?;
    let machine = machine(script, programs, TIMEOUT)?.scratch(Disk::Served { socket });
    let ended = machine.run(&mut |_, _| {})?.expect(End::Exited(0));
    let events = served.end(|disk| std::mem::take(&mut disk.events))?;
    ended.context("the workload")?;
    Ok(events)
}

fn machine(script: &str, programs: &Programs, timeout: Duration) -> Result<Machine> {
    let script = format!("CONTROL={}\n{script}", ((MIB << 20) - CONTROL_LEN) / CONTROL_LEN);
    let mut machine = Machine::new(Kernel::Stable.fetch()?, &script)?.timeout(timeout);
    programs.install(machine.payload())?;
    for program in ["dd", "fsverity"] {
        machine.payload().program(program)?;
    }
    Ok(machine)
}

/// The states a name may have at a point of the list.
#[derive(Clone, Debug, Default)]
struct Expected {
    names: BTreeMap<String, BTreeSet<String>>,
}

impl Expected {
    fn hear(&mut self, mark: &str) -> Result<()> {
        match &mark.split_whitespace().collect::<Vec<_>>()[..] {
            ["IS", name, digest] => {
                self.names.insert((*name).into(), BTreeSet::from([(*digest).into()]));
            }
            ["MAYBE", name, digest] => {
                let may_be = self.names.entry((*name).into()).or_insert_with(|| BTreeSet::from(["-".into()]));
                may_be.insert((*digest).into());
            }
            ["BEGIN" | "END"] => {}
            _ => bail!("an odd mark: {mark:?}"),
        }
        Ok(())
    }

    fn text(&self) -> String {
        let one = |(name, may_be): (&String, &BTreeSet<String>)| {
            format!("{name}={}", may_be.iter().cloned().collect::<Vec<_>>().join(","))
        };
        self.names.iter().map(one).collect::<Vec<_>>().join(" ")
    }
}

/// Chooses points, evenly over all writes since the repository was made, and in turn what becomes of what was not
/// flushed; the lines that the judge reads.
fn choose(events: &[Event], wanted: usize) -> Result<Vec<String>> {
    let begin = events.iter().position(|event| *event == Event::Mark("BEGIN".into())).context("no mark BEGIN")?;
    let end = events.iter().rposition(|event| *event == Event::Mark("END".into())).context("no mark END")?;
    let step = ((end - begin) / wanted.max(1)).max(1);
    let mut expected = Expected::default();
    let (mut lines, mut how) = (Vec::new(), ["kept", "lost", "some"].into_iter().cycle());
    for (index, event) in events.iter().enumerate().take(end + 1).skip(begin) {
        if let Event::Mark(mark) = event {
            expected.hear(mark)?;
        }
        let has_returned = matches!(event, Event::Mark(mark) if mark.starts_with("IS "));
        // Just behind what has returned is where something may be missing.
        if (index - begin).is_multiple_of(step) || has_returned {
            let how = if has_returned { "lost" } else { how.next().unwrap_or("kept") };
            lines.push(format!("{} {how} {}", index + 1, expected.text()));
        }
    }
    Ok(lines)
}

#[derive(Debug, Default)]
struct Verdict {
    judged: usize,
    bad: usize,
    repaired: usize,
    problems: Vec<String>,
}

fn judge(
    base: &Path,
    events: Arc<Vec<Event>>,
    socket: &Path,
    points: &[String],
    measure: &str,
    programs: &Programs,
) -> Result<Verdict> {
    let served = Served::start(ReplayedDisk::new(base, events)?, socket)?;
    let timeout = TIMEOUT + TIMEOUT_OF_POINT * u32::try_from(points.len()).unwrap_or(u32::MAX);
    let mut machine = machine(&format!("MEASURE={measure}\n{JUDGE}"), programs, timeout)?;
    machine.payload().bytes("points", format!("{}\n", points.join("\n")));
    let ended = machine.second_disk(Disk::Served { socket: socket.to_owned() }).run(&mut |_, _| {})?;
    served.end(|_| ())?;
    let Exit { stdout, .. } = ended.expect(End::Exited(0)).context("the judge")?;
    let text = String::from_utf8_lossy(&stdout).into_owned();
    let last = text.lines().rev().find_map(|line| line.strip_prefix("JUDGED ")).context("no verdict")?;
    let numbers: Vec<usize> = last.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [judged, bad, repaired] = numbers[..] else { bail!("an odd verdict: {last}") };
    let problems = text.lines().filter(|line| line.starts_with("BAD ")).map(str::to_owned).collect();
    Ok(Verdict { judged, bad, repaired, problems })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_know_what_must_be_there() {
        let write = || Event::Write { offset: 0, data: vec![0; 512], durable: false };
        let mark = |text: &str| Event::Mark(text.into());
        let events = [
            write(),
            mark("BEGIN"),
            mark("MAYBE a 1"),
            write(),
            mark("IS a 1"),
            mark("MAYBE a -"),
            write(),
            mark("END"),
        ];
        let lines = choose(&events, 100).unwrap();
        assert_eq!(lines[0], "2 kept ");
        assert_eq!(lines[1], "3 lost a=-,1");
        assert_eq!(lines[3], "5 lost a=1");
        assert_eq!(lines[4].split_once(' ').unwrap().1.split_once(' ').unwrap().1, "a=-,1");
        assert!(choose(&events[2..], 100).is_err());
    }
}
