//! Boots of a disk that `composefs disk` made, with `composefs-setup-root` as `/init` of an initramfs that has nothing
//! else but modules: one that is verified, one that is refused, and one by name on a machine whose clock begins in the
//! past.
//!
//! The disk is made on this machine, whatever its file systems can do: that the kernel verifies every object of it
//! shows that the trees are right. One object is damaged on the disk, and cannot be read.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::Options;
use super::programs::Programs;
use super::report::Suite;
use crate::kernel::{Fetched, Kernel};
use crate::process;
use crate::vm::modules::ModuleSet;
use crate::vm::payload::Payload;
use crate::vm::{Disk, End, Exit, Machine};

const INIT: &str = include_str!("init.sh");
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "ext4", "erofs", "overlay", "loop"];
/// More modules than the kernel's log takes records at once.
const MISSING_MODULES: usize = 12;
/// Most bytes of the program, and of its build that boots by name.
const MAX_LEN: u64 = 700_000;
const BY_NAME_MAX_LEN: u64 = 1_200_000;
const NAME: &str = "boot_as_init";
/// Offset of the root file system on the disk.
const ROOT: u64 = 513 << 20;
/// Serial number of the image's statement.
const SERIAL: u64 = 42;
/// The time of a clock without a battery.
const NO_CLOCK: &str = "1970-01-02T00:00:00";
/// Length of the file that is damaged.
const DAMAGED: u32 = 100_000;

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
    let built = programs.boot.as_ref().context("the programs are not built")?;
    let program = built.plain.as_path();
    for (program, max) in [(program, MAX_LEN), (&built.by_name, BY_NAME_MAX_LEN)] {
        let len = std::fs::metadata(program)?.len();
        let is_musl = program.to_string_lossy().contains("-musl");
        ensure!(!is_musl || len <= max, "{} has {len} bytes, more than {max}", program.display());
    }
    let dir = tempfile::tempdir()?;
    let (file, digest) = make_disk(dir.path(), &programs.composefs)?;
    damage(&file, &noise(DAMAGED))?;
    let disk = Disk::Kept { file, mib: 0 };
    let machine = |payload: Payload, words: &str| {
        let words = format!("root=/dev/vda2 rw {words}");
        Machine::with_initramfs(kernel.clone(), payload, &words).memory_mib(512).scratch(disk.clone())
    };
    let boot = |words: &str, missing: usize| -> Result<Exit> {
        machine(initramfs(&kernel, program, missing)?, words).run(&mut |_, _| {})
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

    // The policy judges times at each boot. The machine begins in 1970, when nothing has expired; the time at which the
    // policy was made counts, so that the newer image, whose statement has expired, is not booted.
    let mut payload = initramfs(&kernel, &built.by_name, 0)?;
    payload.file("etc/composefs/policy.toml", dir.path().join("policy.toml"));
    let named = machine(payload, "composefs.name=os a-word another").clock(NO_CLOCK).run(&mut |_, _| {})?;
    named.expect(End::Exited(0))?;
    Ok(())
}

/// Signs the image of the disk, and one that the disk does not have, and writes a policy that names the key.
fn sign(dir: &Path, run: &dyn Fn(&[&Path]) -> Result<String>) -> Result<()> {
    let key = dir.join("key");
    let mut keygen = Command::new(process::require("ssh-keygen")?);
    process::output(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key))?;
    let of_key = format!("--key={}", key.display());
    for (serial, expires) in [(SERIAL, "2110-01-01T00:00:00Z"), (SERIAL + 1, "2020-01-01T00:00:00Z")] {
        let words = [of_key.clone(), format!("--serial={serial}"), format!("--expires={expires}")];
        let words: Vec<&Path> =
            ["sign", "os"].into_iter().chain(words.iter().map(String::as_str)).map(Path::new).collect();
        run(&words)?;
    }
    let public = fs::read_to_string(dir.join("key.pub"))?;
    let policy = format!(
        "version = 1\nenforce_expiry = \"mount\"\n[key.release]\nssh = \"{}\"\n\
         [[rule]]\nname = \"os\"\nkeys = [\"release\"]\n",
        public.trim()
    );
    Ok(fs::write(dir.join("policy.toml"), policy)?)
}

/// Makes a disk with an image that starts `init.sh`, and returns its path and the digest of the image.
fn make_disk(dir: &Path, composefs: &Path) -> Result<(PathBuf, String)> {
    let (tree, repository, disk) = (dir.join("tree"), dir.join("repository"), dir.join("disk"));
    for name in ["bin", "boot", "dev", "etc", "proc", "run", "sbin", "sys", "sysroot", "usr", "var"] {
        fs::create_dir_all(tree.join(name))?;
    }
    fs::copy(process::require("busybox")?, tree.join("bin/busybox"))?;
    fs::write(tree.join("sbin/init"), INIT)?;
    fs::set_permissions(tree.join("sbin/init"), fs::Permissions::from_mode(0o755))?;
    fs::write(tree.join("etc/base"), "base\n")?;
    fs::write(tree.join("var/seed"), "seed\n")?;
    // With trees of no level, of one and of two.
    for (name, len) in [("small", 4000), ("large", 3_000_000), ("damaged", DAMAGED)] {
        fs::write(tree.join("usr").join(name), noise(len))?;
    }
    let run = |words: &[&Path]| {
        process::text(Command::new(composefs).arg("--repo").arg(&repository).args(words))
            .map(|text| text.trim().to_owned())
    };
    run(&["init", "--insecure"].map(Path::new))?;
    let digest = run(&[Path::new("create"), &tree, Path::new("--bootable"), Path::new("--name=os")])?;
    ensure!(digest.len() == 64, "the image has no digest: {digest:?}");
    sign(dir, &run)?;
    run(&[Path::new("disk"), Path::new("os"), &disk, Path::new("--size=640M")])?;
    process::output(
        Command::new(process::require("e2fsck")?).arg("-fn").arg(format!("{}?offset={ROOT}", disk.display())),
    )?;
    Ok((disk, digest))
}

/// Returns bytes that look random, and differ by their number.
fn noise(len: u32) -> Vec<u8> {
    (0..len).map(|i| ((i ^ len).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Changes one bit in the content of a file on the disk.
fn damage(disk: &Path, content: &[u8]) -> Result<()> {
    let file = File::options().read(true).write(true).open(disk)?;
    let (mut block, len) = ([0; 4096], file.metadata()?.len());
    let places = (ROOT..len).step_by(block.len());
    for place in places {
        file.read_exact_at(&mut block, place)?;
        if content.starts_with(&block) {
            let at = 8192 + 77;
            file.write_all_at(&[content[at] ^ 1], place + at as u64)?;
            return Ok(());
        }
    }
    anyhow::bail!("the file to be damaged is not on the disk")
}

/// The program, and the modules that it loads. The order may name modules that are not there.
pub(crate) fn initramfs(kernel: &Fetched, program: &Path, missing: usize) -> Result<Payload> {
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
