//! Power cuts: what a guest had made durable when its power went is there when it comes back, whole.
//!
//! A scenario is a script that prints a marker, at which the power is cut, and one that judges what the next boot finds.
//! Each runs twice, losing all unflushed writes and losing an arbitrary part of them.

use anyhow::{Context as _, Result, ensure};

use super::Options;
use super::programs::Programs;
use super::report::{Report, Suite};
use crate::kernel::Kernel;
use crate::vm::volatile_disk::Loss;
use crate::vm::{Disk, End, Machine};

const MARKER: &str = "CUT THE POWER";
const LOSSES: [Loss; 2] = [Loss::All, Loss::Some(1)];

struct Scenario {
    name: &'static str,
    /// Ends well before the marker is printed for it.
    before: &'static str,
    /// Succeeds if all is well after the next boot; `$LOSS` is `All` or `Some`.
    after: &'static str,
    /// Whether the scenario is worthless unless something was lost. A program that flushes all it wrote loses nothing.
    must_lose: bool,
}

/// `/mnt` is the disk, the program under test is on the `PATH`.
const SCENARIOS: &[Scenario] = &[Scenario {
    // The proof that the cuts cut. Direct writes over blocks that are there already reach the disk without a flush.
    name: "only_flushed_writes_are_promised",
    before: "head -c 1048576 /dev/zero > lost; yes kept | head -c 300000 > kept; sync
             yes new | dd of=lost bs=65536 count=16 iflag=fullblock oflag=direct conv=notrunc",
    after: "yes kept | head -c 300000 | cmp - kept || exit 1
            [ $LOSS = Some ] || head -c 1048576 /dev/zero | cmp - lost",
    must_lose: true,
}];

/// Runs the scenarios.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    let named = |scenario: &&Scenario| options.filter.as_ref().is_none_or(|part| scenario.name.contains(part));
    let scenarios: Vec<_> = SCENARIOS.iter().filter(named).collect();
    if !options.wants("power") || scenarios.is_empty() {
        return Ok(());
    }
    let programs = Programs::build()?;
    let mut suite = Suite { kind: "power".into(), name: "cuts".into(), finished: true, ..Suite::default() };
    for scenario in scenarios {
        for loss in LOSSES {
            let name = format!("{} ({loss:?})", scenario.name);
            match cut(scenario, loss, &programs) {
                Ok(lost) => {
                    println!("power: {name}: ok, {lost} bytes lost");
                    suite.passed += 1;
                }
                Err(error) => {
                    println!("power: {name}: {error:#}");
                    suite.failed += 1;
                    suite.failures.push(name);
                }
            }
        }
    }
    report.extend([suite]);
    Ok(())
}

/// Cuts, boots again and judges; gives the number of bytes that were lost.
fn cut(scenario: &Scenario, loss: Loss, programs: &Programs) -> Result<u64> {
    let dir = tempfile::tempdir()?;
    let disk = Disk::Kept { file: dir.path().join("disk"), mib: 256 };
    let kernel = Kernel::Stable.fetch()?;
    let boot = |script: &str| -> Result<Machine> {
        let mut machine = Machine::new(kernel.clone(), script)?.scratch(disk.clone());
        programs.install(machine.payload());
        machine.payload().program("dd")?;
        Ok(machine)
    };
    let script = format!("set -e\n{}\necho '{MARKER}'\nsleep 60\n", scenario.before);
    let cut = boot(&script)?.cut_power_at(MARKER, loss).run(&mut |_, _| {})?;
    let tally = cut.expect(End::PowerCut)?.disk.context("no word of the disk")?;
    ensure!(tally.lost > 0 || !scenario.must_lose, "the cut proves nothing: {tally:?}");
    let kind = if loss == Loss::All { "All" } else { "Some" };
    boot(&format!("LOSS={kind}\n{}\n", scenario.after))?.run(&mut |_, _| {})?.expect(End::Exited(0))?;
    Ok(tally.lost)
}
