//! `cargo xtask e2e boot`: disks of `composefs disk` under a real firmware with Secure Boot, a real boot loader, and
//! signed kernels.
//!
//! The firmware trusts one key, that of Debian's package `ovmf`, whose private part is public: it is for tests. The
//! boot loader is systemd-boot, and the initramfs has `composefs-setup-root` as `/init`. Each refusal has a twin that
//! boots.
//!
//! A Debian with systemd boots from such a disk too: by our own initramfs, and by those that initramfs-tools and dracut
//! make with the files of the package `composefs-initramfs`.

mod disks;
pub(super) mod firmware;
mod system;
mod unified;

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::test::report::Suite;
use disks::{BootKernel, BootWorkshop};
use firmware::{FirmwareBoot, SecureBoot};
use system::SystemWorkshop;

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the checks whose names have one of these parts.
    parts: Vec<String>,
}

impl Options {
    /// Selects all checks.
    pub(crate) fn all() -> Self {
        Self { parts: Vec::new() }
    }

    fn wants(&self, name: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|part| name.contains(part.as_str()))
    }
}

/// A check of what `W` has made, by its name.
type BootCheck<W> = (&'static str, fn(&W) -> Result<()>);

const CHECKS: [BootCheck<BootWorkshop>; 4] = [
    ("a_signed_disk_boots_verified", a_signed_disk_boots_verified),
    ("an_unsigned_kernel_is_refused_by_the_firmware", an_unsigned_kernel_is_refused_by_the_firmware),
    ("a_changed_command_line_is_refused_by_the_firmware", a_changed_command_line_is_refused_by_the_firmware),
    ("a_broken_update_falls_back_to_the_entry_before", a_broken_update_falls_back_to_the_entry_before),
];

/// Words of the firmware and the boot loader for a program that is not signed as it must be.
const DENIED: [&str; 2] = ["access denied", "security violation"];

/// Runs `cargo xtask e2e boot`.
pub(super) fn run(options: &Options) -> Result<Vec<Suite>> {
    let start = Instant::now();
    let mut suite = Suite { kind: "e2e".into(), name: "boot".into(), finished: true, ..Suite::default() };
    run_checks(&mut suite, options, &CHECKS, BootWorkshop::new)?;
    run_checks(&mut suite, options, &system::CHECKS, SystemWorkshop::new)?;
    suite.took = start.elapsed();
    Ok(vec![suite])
}

/// Runs the checks that are wanted, and before them what they need.
fn run_checks<W>(
    suite: &mut Suite,
    options: &Options,
    checks: &[BootCheck<W>],
    prepare: impl FnOnce() -> Result<W>,
) -> Result<()> {
    let wanted: Vec<_> = checks.iter().filter(|(name, _)| options.wants(name)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let workshop = prepare()?;
    for (name, check) in wanted {
        let began = Instant::now();
        let result = check(&workshop);
        let took = began.elapsed().as_secs();
        match result {
            Ok(()) => {
                println!("[boot] test {name} ... ok ({took} s)");
                suite.passed += 1;
                suite.passes.push((*name).to_owned());
            }
            Err(error) => {
                println!("[boot] test {name} ... FAILED ({took} s)");
                suite.failed += 1;
                suite.failures.push(format!("{name}: {error:#}"));
            }
        }
    }
    Ok(())
}

/// Expects that the system of an entry was booted, and how often one was refused before.
fn expect_booted(boot: &FirmwareBoot, entry: &str, is_secure: bool, refused: usize) -> Result<()> {
    ensure!(boot.value("exit") == Some("0"), "the system was not booted as it must be\n{}", boot.last_lines());
    let secure = if is_secure { "1" } else { "0" };
    ensure!(boot.value("secure") == Some(secure), "Secure Boot is not {secure}: {}", boot.verdict);
    ensure!(boot.value("entry") == Some(entry), "not the entry {entry} was started: {}", boot.verdict);
    let found = boot.console.matches("composefs: BOOT REFUSED").count();
    ensure!(found == refused, "{found} boots were refused, not {refused}\n{}", boot.last_lines());
    Ok(())
}

/// Expects that the firmware or the boot loader has refused the kernel, so that nothing of it ran.
fn expect_denied(boot: &FirmwareBoot) -> Result<()> {
    let console = boot.console.to_lowercase();
    ensure!(DENIED.iter().any(|words| console.contains(words)), "nothing was denied\n{}", boot.last_lines());
    // The firmware writes to both serial lines.
    let is_silent = !console.contains("composefs:") && boot.value("exit").is_none();
    ensure!(is_silent, "the kernel ran\n{}", boot.last_lines());
    Ok(())
}

fn a_signed_disk_boots_verified(workshop: &BootWorkshop) -> Result<()> {
    let disk = workshop.disk(&[workshop.kernel("os-1.efi", &BootKernel::good("1"))?])?;
    expect_booted(&disk.boot(SecureBoot::On, &[])?, "1", true, 0)
}

fn an_unsigned_kernel_is_refused_by_the_firmware(workshop: &BootWorkshop) -> Result<()> {
    let kernel = BootKernel { is_signed: false, ..BootKernel::good("1") };
    let disk = workshop.disk(&[workshop.kernel("os-1.efi", &kernel)?])?;
    expect_denied(&disk.boot(SecureBoot::On, &DENIED)?)?;
    // The twin: without Secure Boot the same disk boots.
    expect_booted(&disk.boot(SecureBoot::Off, &[])?, "1", false, 0)
}

fn a_changed_command_line_is_refused_by_the_firmware(workshop: &BootWorkshop) -> Result<()> {
    let disk = workshop.disk(&[workshop.kernel("os-1.efi", &BootKernel::good("1"))?])?;
    // On the disk: `composefs disk` does not take a kernel for another image.
    disk.change_command_line(&workshop.digest)?;
    expect_denied(&disk.boot(SecureBoot::On, &DENIED)?)?;
    // The twin: it was the firmware that has seen the change. Without Secure Boot the kernel is started, and finds that
    // the repository has no image of that digest.
    let started = disk.boot(SecureBoot::Off, &["BOOT REFUSED"])?;
    let says = "composefs: BOOT REFUSED: the repository has no image that the command line names";
    ensure!(started.console.contains(says), "another end\n{}", started.last_lines());
    ensure!(started.value("exit").is_none(), "a system was booted: {}", started.verdict);
    Ok(())
}

/// The update has two attempts, and a command line that leads to the wrong partition.
fn a_broken_update_falls_back_to_the_entry_before(workshop: &BootWorkshop) -> Result<()> {
    let old = workshop.kernel("os-1.efi", &BootKernel::good("1"))?;
    let broken = BootKernel { root: "/dev/vda1", ..BootKernel::good("2") };
    let disk = workshop.disk(&[old.clone(), workshop.kernel("os-2+2.efi", &broken)?])?;
    expect_booted(&disk.boot(SecureBoot::On, &[])?, "1", true, 2)?;
    // The twin: an update that is whole is started at once.
    let disk = workshop.disk(&[old, workshop.kernel("os-2+2.efi", &BootKernel::good("2"))?])?;
    expect_booted(&disk.boot(SecureBoot::On, &[])?, "2", true, 0)
}
