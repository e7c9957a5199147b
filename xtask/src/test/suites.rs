//! The suite of `crates/vmtest`, in a guest of each kernel.

use std::thread::ScopedJoinHandle;
use std::time::Duration;

use anyhow::Result;

use super::libtest::Reader;
use super::programs::Programs;
use super::report::Suite;
use super::{Options, own_init};
use crate::kernel::{Fetched, Kernel};
use crate::vm::{End, Machine, Stream};

const TIMEOUT: Duration = Duration::from_secs(900);
/// Programs of the host that tests use, beside the busybox every guest has.
const TOOLS: &[&str] = &[
    "mount",
    "umount",
    "fsverity",
    "openssl",
    "keyctl",
    "strace",
    "mkfs.erofs",
    "fsck.erofs",
    "mkfs.xfs",
    "xfs_quota",
    "mkfs.btrfs",
    "mkfs.vfat",
    "dmsetup",
    "mke2fs",
    "debugfs",
    "filefrag",
    "cmp",
    "getfattr",
    "setfattr",
    "getfacl",
    "setfacl",
    "losetup",
    "findmnt",
    "fincore",
    "unshare",
    "crun",
];
/// The profile that containers get on Debian.
const SECCOMP: &str = "/usr/share/containers/seccomp.json";

/// The boots that a kernel has, unless `--full`, `--kernel` or `--filter` demands others: 6.1 cannot verify files and
/// refuses each boot for the same reason.
const BOOTS: &[(Kernel, &str)] = &[(Kernel::Debian12, "boot::refusals::a_kernel_that_cannot_verify_files")];

/// Runs the suite under the kernels asked for.
pub(super) fn run(options: &Options) -> Result<Vec<Suite>> {
    if !options.wants("vm") {
        return Ok(Vec::new());
    }
    let programs = Programs::build()?;
    let mut kernels = Vec::new();
    for kernel in options.kernels() {
        let fetched = kernel.fetch()?;
        println!("vm {kernel}: Linux {}", fetched.release);
        kernels.push(fetched);
    }
    // Each waits for a free place among the machines that run at once.
    Ok(std::thread::scope(|scope| {
        let programs = &programs;
        let run = |kernel| scope.spawn(move || suite(kernel, programs, options));
        let own_init = scope.spawn(|| own_init::run(options, programs));
        let mut running: Vec<_> = kernels.iter().map(run).collect();
        running.push(own_init);
        let join = |run: ScopedJoinHandle<'_, Vec<Suite>>| run.join().unwrap_or_else(|_| vec![panicked()]);
        running.into_iter().flat_map(join).collect()
    }))
}

/// The result of a run whose thread panicked.
fn panicked() -> Suite {
    Suite::broken("vm", "guest", "the thread of a guest panicked".to_owned())
}

/// One kernel's run: whatever happens, it gives a result.
fn suite(kernel: &Fetched, programs: &Programs, options: &Options) -> Vec<Suite> {
    let name = format!("{} ({})", kernel.kernel, kernel.release);
    let mut reader = Reader::of_program("vm", &name);
    let exit = machine(kernel, programs, options).and_then(|machine| {
        machine.run(&mut |stream, line| {
            println!("[{}] {line}", kernel.kernel);
            if stream != Stream::Qemu {
                reader.line(line);
            }
        })
    });
    let mut suites = reader.finish();
    let counted: u32 = suites.iter().map(|suite| suite.passed + suite.failed + suite.skipped).sum();
    let failed: u32 = suites.iter().map(|suite| suite.failed).sum();
    match exit {
        Err(error) => suites.push(Suite::broken("vm", &name, format!("{error:#}"))),
        Ok(exit) => {
            let took = exit.took.as_secs_f32();
            println!("[{}] {counted} tests, ended as {:?} after {took:.1} s", kernel.kernel, exit.end);
            // A guest without a single test has proved nothing; one whose verdict and report differ is not believed.
            if counted == 0 && options.filter.is_none() {
                suites.push(Suite::broken("vm", &name, "the guest ran no test".into()));
            }
            if exit.end != End::Exited(0) && failed == 0 {
                let reason = exit.expect(End::Exited(0)).err().map(|error| format!("{error:#}"));
                suites.push(Suite::broken("vm", &name, reason.unwrap_or_default()));
            }
        }
    }
    suites
}

fn machine(kernel: &Fetched, programs: &Programs, options: &Options) -> Result<Machine> {
    let quoted = |filter: &str| format!("'{}'", filter.replace('\'', ""));
    let filter = options.filter.as_deref().map_or(String::new(), quoted);
    let is_usual = !options.full && options.kernel.is_empty() && options.filter.is_none();
    let boots = BOOTS.iter().find(|(of, _)| is_usual && *of == kernel.kernel).map(|(_, part)| quoted(part));
    let full = if options.full { "COMPOSEFS_FULL=1 " } else { "" };
    // Each test program has the scratch disk for its temporary files; all run, whatever the others found.
    let mut script = format!(
        "export TMPDIR=/mnt COMPOSEFS_SETUP_ROOT={0}/{1} COMPOSEFS_SETUP_ROOT_BY_NAME={0}/{2}\nstatus=0\n",
        "/usr/local/bin",
        crate::artifacts::BOOT_PROGRAM,
        crate::artifacts::BY_NAME_PROGRAM
    );
    for (n, name) in programs.tests().enumerate() {
        let expect = if n == 0 { format!("--expect-kernel {}", kernel.release) } else { String::new() };
        let filter = boots.as_ref().filter(|_| name.starts_with("composefs-boot")).unwrap_or(&filter);
        script.push_str(&format!("{full}{name} {expect} {filter} || status=1\n"));
    }
    script.push_str("exit $status\n");
    let mut machine = Machine::new(kernel.clone(), &script)?.timeout(TIMEOUT).memory_mib(1536);
    let payload = machine.payload();
    programs.install(payload)?;
    for tool in TOOLS {
        payload.program(tool)?;
    }
    payload.file(SECCOMP, SECCOMP);
    Ok(machine)
}
