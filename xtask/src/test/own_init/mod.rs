//! Boots of a disk with `composefs-setup-root` as `/init` of an initramfs that has nothing else but modules: one that
//! is verified, and one that is refused.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::Options;
use super::programs::Programs;
use super::report::Suite;
use crate::kernel::{Fetched, Kernel};
use crate::vm::modules::ModuleSet;
use crate::vm::payload::Payload;
use crate::vm::{Disk, End, Exit, Machine};

const PREPARE: &str = include_str!("prepare.sh");
const INIT: &str = include_str!("init.sh");
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "ext4", "erofs", "overlay", "loop"];
/// More modules than the kernel's log takes records at once.
const MISSING_MODULES: usize = 12;
/// Most bytes of the program.
const MAX_LEN: u64 = 700_000;
const NAME: &str = "boot_as_init";

/// Runs the boots under 6.12, or under the first kernel that is asked for. 6.1 cannot verify files.
pub(super) fn run(options: &Options, programs: &Programs) -> Vec<Suite> {
    if options.filter.as_ref().is_some_and(|part| !NAME.contains(part.as_str())) {
        return Vec::new();
    }
    let kernel = options.kernel.iter().copied().find(|kernel| *kernel != Kernel::Debian12);
    let Some(kernel) = kernel.or(options.kernel.is_empty().then_some(Kernel::Stable)) else { return Vec::new() };
    let name = format!("{} as /init ({kernel})", crate::artifacts::BOOT_PROGRAM);
    let start = Instant::now();
    let suite = Suite { kind: "vm".into(), name: name.clone(), finished: true, ..Suite::default() };
    match boots(kernel, programs) {
        Ok(()) => vec![Suite { passed: 1, passes: vec![NAME.into()], took: start.elapsed(), ..suite }],
        Err(error) => vec![Suite::broken("vm", &name, format!("{NAME}: {error:#}"))],
    }
}

fn boots(kernel: Kernel, programs: &Programs) -> Result<()> {
    let kernel = kernel.fetch()?;
    let program = programs.boot.as_deref().context("the program is not built")?;
    let len = std::fs::metadata(program)?.len();
    let is_musl = program.to_string_lossy().contains("-musl");
    ensure!(!is_musl || len <= MAX_LEN, "the program has {len} bytes, more than {MAX_LEN}");
    let dir = tempfile::tempdir()?;
    let disk = Disk::Kept { file: dir.path().join("disk"), mib: 64 };
    let digest = prepare(&kernel, &disk, programs)?;
    let boot = |words: &str, missing: usize| -> Result<Exit> {
        let payload = initramfs(&kernel, program, missing)?;
        let words = format!("root=/dev/vda rw {words}");
        let machine = Machine::with_initramfs(kernel.clone(), payload, &words).memory_mib(512);
        machine.scratch(disk.clone()).run(&mut |_, _| {})
    };

    let verified = boot(&format!("composefs={digest} a-word another"), 0)?;
    let says = verified.console.clone();
    let verified = verified.expect(End::Exited(0))?;
    ensure!(verified.release == kernel.release, "another kernel: {}", verified.release);
    for fault in ["failed to clone lowerpath", "couldn't mount as"] {
        ensure!(!says.contains(fault), "the kernel's log has a line that looks like a fault: {says}");
    }

    let refused = boot(&format!("composefs={} composefs.refused=poweroff", "ab".repeat(32)), MISSING_MODULES)?;
    let says = refused.console.clone();
    refused.expect(End::Died)?;
    for line in [
        "composefs: BOOT REFUSED: the repository has no image that the command line names",
        "composefs: Choose the previous entry in the boot menu.",
    ] {
        ensure!(says.contains(line), "the console does not have {line:?}: {says}");
    }
    ensure!(!says.contains("Kernel panic"), "the kernel panicked: {says}");
    Ok(())
}

/// Makes a disk with a repository whose objects have fs-verity, and returns the digest of its image.
fn prepare(kernel: &Fetched, disk: &Disk, programs: &Programs) -> Result<String> {
    let mut machine = Machine::new(kernel.clone(), PREPARE)?.scratch(disk.clone());
    machine.payload().executable("usr/local/bin/composefs", &programs.composefs)?;
    machine.payload().bytes("payload/init", INIT);
    let prepared = machine.run(&mut |_, _| {})?.expect(End::Exited(0))?;
    let digest = String::from_utf8(prepared.stdout)?.trim().to_owned();
    ensure!(digest.len() == 64, "the image has no digest: {digest:?}");
    Ok(digest)
}

/// The program, and the modules that it loads. The order may name modules that are not there.
fn initramfs(kernel: &Fetched, program: &Path, missing: usize) -> Result<Payload> {
    let mut payload = Payload::default();
    payload.file("init", program);
    let modules = ModuleSet::collect(&kernel.modules, MODULES)?;
    for (name, object) in modules.objects() {
        payload.bytes(Path::new("modules").join(name), object);
    }
    let mut order = modules.load_order();
    order.extend((0..missing).map(|n| format!("missing-{n}.ko")));
    payload.bytes("modules/order", order.join("\n"));
    Ok(payload)
}
