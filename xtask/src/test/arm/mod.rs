//! The hash kernels on 64-bit ARM: their tests, built for it and run by QEMU's user mode on CPUs with all, some and
//! none of the instructions for SHA-2.

mod boot;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Options;
use super::libtest::Reader;
use super::report::Suite;
use crate::{artifacts, metadata, paths, process};

/// Static programs, with start files and a libc that come with the target: no cross compiler is needed.
const TARGET: &str = "aarch64-unknown-linux-musl";
const PACKAGE: &str = "libcomposefs-hash";
const PROGRAM: &str = "libcomposefs_hash";
/// Tells the tests what the CPU has, in the words of `/proc/cpuinfo`.
const FLAGS: &str = "COMPOSEFS_CPU_FLAGS";

struct Machine {
    name: &'static str,
    /// As QEMU calls it.
    cpu: &'static str,
    /// True if the program must not see the features of the CPU.
    hidden: bool,
    flags: &'static str,
}

const MACHINES: &[Machine] = &[
    Machine { name: "with SHA-256 and SHA-512", cpu: "max", hidden: false, flags: "sha2 sha512" },
    Machine { name: "with SHA-256", cpu: "cortex-a72", hidden: false, flags: "sha2" },
    Machine { name: "without SHA", cpu: "cortex-a72", hidden: true, flags: "" },
];

pub(super) fn run(options: &Options) -> Result<Vec<Suite>> {
    if !options.wants_long("arm") {
        return Ok(Vec::new());
    }
    if let Err(error) = artifacts::install_target(TARGET) {
        let skips = vec![("every_kernel".to_owned(), format!("{error:#}"))];
        return Ok(vec![Suite { kind: "arm".into(), name: TARGET.into(), skipped: 1, skips, ..Suite::default() }]);
    }
    let (program, hidden) = (build(None)?, build(Some(&start_without_sha()?))?);
    Ok(std::thread::scope(|scope| {
        let run = |machine: &'static Machine| {
            let program = if machine.hidden { &hidden } else { &program };
            scope.spawn(move || suite(machine, program, options))
        };
        let running: Vec<_> = MACHINES.iter().map(run).collect();
        let mut suites: Vec<_> = running.into_iter().flat_map(|run| run.join().unwrap_or_default()).collect();
        suites.push(boot::suite(TARGET));
        suites
    }))
}

fn start_without_sha() -> Result<PathBuf> {
    let object = paths::target().join(TARGET).join("start_without_sha.o");
    std::fs::create_dir_all(object.parent().context("no parent")?)?;
    let mut rustc = Command::new("rustc");
    rustc.args(["--target", TARGET, "--edition", "2024", "--crate-type", "lib", "--emit", "obj", "-o"]).arg(&object);
    process::output(rustc.arg(paths::checkout().join("xtask/src/test/arm/without_sha.rs")))?;
    Ok(object)
}

/// Builds the tests, with a start of our own in this object or without.
fn build(start: Option<&Path>) -> Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(paths::checkout()).args(["rustc", "--quiet", "--profile", "test", "--lib"]);
    cargo.args(["--package", PACKAGE, "--target", TARGET]);
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "rust-lld");
    // Nothing else compiles this code with warnings denied.
    let mut arguments = vec!["-Dwarnings".to_owned()];
    if let Some(object) = start {
        arguments.extend([format!("-Clink-arg={}", object.display()), "-Clink-arg=--entry=start_without_sha".into()]);
    }
    cargo.args(["--message-format=json-render-diagnostics", "--"]).args(arguments);
    metadata::test_program(&mut cargo, PROGRAM)
}

fn suite(machine: &Machine, program: &Path, options: &Options) -> Vec<Suite> {
    let mut reader = Reader::of_program("arm", machine.name);
    let mut qemu = Command::new("qemu-aarch64");
    qemu.args(["-cpu", machine.cpu]).arg(program).args(&options.filter).env(FLAGS, machine.flags);
    let output = match qemu.output() {
        Ok(output) => output,
        Err(error) => return vec![Suite::broken("arm", machine.name, format!("cannot run {qemu:?}: {error}"))],
    };
    let said = [output.stdout, output.stderr].concat();
    for line in String::from_utf8_lossy(&said).lines() {
        println!("[{}] {line}", machine.name);
        reader.line(line);
    }
    let mut suites = reader.finish();
    if !output.status.success() && suites.iter().all(|suite| suite.failed == 0) {
        suites.push(Suite::broken("arm", machine.name, format!("{qemu:?}: {}", output.status)));
    }
    suites
}
