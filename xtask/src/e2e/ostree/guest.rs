//! The deployment in a guest with fs-verity.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::e2e::chroot::{Chroot, Net};
use crate::kernel::Kernel;
use crate::test::libtest::Reader;
use crate::test::report::Suite;
use crate::vm::{End, Machine, Stream};
use crate::{paths, process};

/// Boots a machine with what `check.sh` deployed in the chroot.
pub(super) fn run(chroot: &Chroot) -> Result<Vec<Suite>> {
    process::output(&mut chroot.command(Net::Own, &["bash", "-euo", "pipefail", "-c", include_str!("pack.sh")]))?;
    let program = chroot.path("root/guest/opt/verity");
    let capi = paths::checkout().join("crates/capi");
    let mut cc = Command::new(process::require("cc")?);
    cc.arg("-I").arg(capi.join("include")).arg(capi.join("tests/c/verity.c")).arg("-o").arg(program);
    // By its own name: there is no other link to it there.
    process::output(cc.arg(chroot.path(super::LIBRARY)))?;
    let kernel = Kernel::New.fetch()?;
    let name = format!("ostree ({})", kernel.release);
    let mut machine =
        Machine::new(kernel, include_str!("guest.sh"))?.timeout(Duration::from_secs(180)).memory_mib(1536);
    machine.payload().tree("payload/root", chroot.path("root/guest"));
    for program in ["fsverity", "mount", "umount", "cmp", "chroot"] {
        machine.payload().program(program)?;
    }
    let mut reader = Reader::of_program("e2e", &name);
    let exit = machine.run(&mut |stream, line| {
        println!("[{name}] {line}");
        if stream != Stream::Qemu {
            reader.line(line);
        }
    })?;
    let mut suites = reader.finish();
    if let Some(suite) = suites.last_mut() {
        suite.took = exit.took;
    }
    if exit.end != End::Exited(0) && suites.iter().all(|suite| suite.failed == 0) || suites.is_empty() {
        suites.push(Suite::broken("e2e", &name, format!("the guest ended as {:?}\n{}", exit.end, exit.console)));
    }
    Ok(suites)
}
