//! `cargo xtask e2e ipe`: the policies of `composefs ipe-policy` in a kernel that enforces them (IPE, since Linux
//! 6.12).
//!
//! The firmware has a key in its list of trusted ones, so that the kernel takes policies which that key has signed. The
//! guest tries ways to run code twice: without a policy, where each must succeed, and with the policy of an image.

mod ways;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::boot::firmware::Firmware;
use crate::kernel::Kernel;
use crate::test::report::Suite;
use crate::vm::{End, Exit, Machine, Stream};
use crate::{artifacts, process};
use ways::{AFTERWARDS, WAYS};

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Boot Linux 6.12 too, the first one with IPE.
    #[arg(long)]
    pub(super) all: bool,
}

/// Programs that the guest has from the host.
const PROGRAMS: [&str; 6] = ["openssl", "perl", "fsverity", "mkfs.ext4", "mount", "umount"];

/// Runs `cargo xtask e2e ipe`.
pub(super) fn run(options: &Options) -> Result<Vec<Suite>> {
    let kernels = if options.all { &[Kernel::Stable, Kernel::New][..] } else { &[Kernel::New] };
    kernels.iter().map(|kernel| run_in(*kernel)).collect()
}

fn run_in(kernel: Kernel) -> Result<Suite> {
    let kernel = kernel.fetch()?;
    let mut suite = Suite { kind: "e2e".into(), name: format!("ipe ({})", kernel.release), ..Suite::default() };
    let firmware = Firmware::set_up()?;
    let dir = tempfile::tempdir()?;
    let (key, certificate) = (dir.path().join("key"), dir.path().join("certificate"));
    let mut openssl = Command::new(process::require("openssl")?);
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=foreign", "-days", "365"]);
    process::output(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
    let mut machine = Machine::new(kernel, include_str!("guest.sh"))?
        .firmware(firmware.code(), firmware.trusting_variables())
        .timeout(Duration::from_secs(240))
        .memory_mib(1536);
    let payload = machine.payload();
    payload.executable("usr/sbin/composefs", &artifacts::program()?)?;
    for program in PROGRAMS {
        payload.program(program)?;
    }
    for (name, file) in [
        ("key.key", firmware.key()),
        ("key.pem", firmware.certificate()),
        ("other.key", key),
        ("other.pem", certificate),
    ] {
        payload.bytes(format!("payload/{name}"), fs::read(file)?);
    }
    let name = suite.name.clone();
    let exit = machine.run(&mut |stream, line| {
        if stream != Stream::Stdout {
            println!("[{name}] {line}");
        }
    })?;
    suite.took = exit.took;
    judge(&mut suite, exit)?;
    for failure in &suite.failures {
        println!("[{name}] FAILED {failure}");
    }
    println!("[{name}] {} ways and changes of policies as expected, {} not", suite.passed, suite.failed);
    Ok(suite)
}

/// Compares what the guest says of each way with what is expected.
fn judge(suite: &mut Suite, exit: Exit) -> Result<()> {
    let exit = exit.expect(End::Exited(0))?;
    let text = String::from_utf8_lossy(&exit.stdout).into_owned();
    let mut found = BTreeMap::new();
    for line in text.lines() {
        if let [way, ended, when] = line.split(' ').collect::<Vec<_>>()[..] {
            ensure!(found.insert((way, when), ended).is_none(), "{way} was tried twice {when}");
        }
    }
    let with_policy = WAYS.iter().map(|(way, ended)| (*way, "with", *ended));
    let without = WAYS.iter().map(|(way, _)| (*way, "without", "ran"));
    for (way, when, expected) in without.chain(with_policy).chain(AFTERWARDS.iter().copied()) {
        match found.remove(&(way, when)) {
            Some(ended) if ended == expected => {
                suite.passed += 1;
                suite.passes.push(format!("{way}.{when}"));
            }
            ended => suite.failures.push(format!("{way} {when} a policy: {ended:?}, expected {expected}")),
        }
    }
    suite.failures.extend(found.keys().map(|(way, when)| format!("{way} {when} is not in the table")));
    suite.failed = suite.failures.len() as u32;
    suite.finished = true;
    Ok(())
}
