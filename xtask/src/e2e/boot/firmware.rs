//! The firmware (OVMF), a key that it trusts, and a machine that boots by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::vm::slots;
use crate::{apt, paths, process};

/// Debian's packages, with the suite that each is taken from. The signing program runs on this machine: the oldest
/// suite has the one that runs on all.
const PACKAGES: [(&str, &[&str]); 2] = [("trixie", &["ovmf", "systemd-boot-efi"]), ("bookworm", &["sbsigntool"])];
/// Passphrase of the key of the package `ovmf`, which says so in its documentation.
const PASSPHRASE: &str = "snakeoil";
/// Longest run of a machine: three boots on a machine that does other things too.
const TIMEOUT: Duration = Duration::from_secs(420);
/// Time for what would follow a message that ends a run.
const AFTER_MESSAGE: Duration = Duration::from_secs(4);

/// Whether the firmware verifies what it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::e2e) enum SecureBoot {
    On,
    Off,
}

/// The files of the packages, in the cache.
pub(in crate::e2e) struct Firmware {
    root: PathBuf,
    /// The private key that the firmware trusts, without its passphrase.
    key: PathBuf,
}

impl Firmware {
    /// Fetches the packages if the cache does not have them.
    pub(in crate::e2e) fn set_up() -> Result<Self> {
        let root = paths::cache("firmware")?;
        let _lock = paths::lock(&root)?;
        let (key, stamp) = (root.join("snakeoil.key"), root.join("complete"));
        if !stamp.exists() {
            for (suite, packages) in PACKAGES {
                let packages: Vec<String> = packages.iter().map(|&name| name.to_owned()).collect();
                let dir = tempfile::tempdir_in(&root)?;
                for deb in apt::Suite::open(suite)?.download(&packages, dir.path())? {
                    apt::unpack(&deb, &root)?;
                }
            }
            let sealed = root.join("usr/share/ovmf/PkKek-1-snakeoil.key");
            let mut openssl = Command::new(process::require("openssl")?);
            openssl.args(["rsa", "-passin", &format!("pass:{PASSPHRASE}"), "-in"]).arg(sealed);
            process::output(openssl.arg("-out").arg(&key))?;
            fs::write(stamp, "")?;
        }
        Ok(Self { root, key })
    }

    /// Returns the path of the firmware's code, without Secure Boot: it starts every kernel.
    pub(in crate::e2e) fn code(&self) -> PathBuf {
        self.file("OVMF_CODE_4M.fd")
    }

    /// Returns the path of variables with the key, which the kernel takes over from them.
    pub(in crate::e2e) fn trusting_variables(&self) -> PathBuf {
        self.file("OVMF_VARS_4M.snakeoil.fd")
    }

    /// Returns the path of the private key.
    pub(in crate::e2e) fn key(&self) -> PathBuf {
        self.key.clone()
    }

    /// Returns the path of the certificate of the key.
    pub(in crate::e2e) fn certificate(&self) -> PathBuf {
        self.root.join("usr/share/ovmf/PkKek-1-snakeoil.pem")
    }

    /// Returns the path of an EFI program of systemd.
    pub(in crate::e2e) fn systemd(&self, name: &str) -> PathBuf {
        self.root.join("usr/lib/systemd/boot/efi").join(name)
    }

    /// Signs an EFI program.
    pub(in crate::e2e) fn sign(&self, program: &Path, signed: &Path) -> Result<()> {
        let mut sign = Command::new(self.root.join("usr/bin/sbsign"));
        sign.arg("--key").arg(&self.key).arg("--cert").arg(self.certificate());
        process::output(sign.arg("--output").args([signed, program])).map(drop)
    }

    /// Boots a disk, until the machine is off or the console has one of these texts, in either case.
    pub(in crate::e2e) fn boot(&self, disk: &Path, secure: SecureBoot, until: &[&str]) -> Result<FirmwareBoot> {
        let _slot = slots::take();
        let dir = tempfile::Builder::new().prefix("composefs-boot.").tempdir()?;
        let variables = match secure {
            SecureBoot::On => "OVMF_VARS_4M.snakeoil.fd",
            SecureBoot::Off => "OVMF_VARS_4M.fd",
        };
        let vars = dir.path().join("vars");
        fs::copy(self.file(variables), &vars)?;
        let mut qemu = self.command_line(disk, &vars, dir.path())?;
        let mut machine = FirmwareMachine(qemu.stdin(Stdio::null()).spawn().context("cannot start qemu")?);
        let read = |name: &str| fs::read(dir.path().join(name)).unwrap_or_default();
        let text = |name: &str| String::from_utf8_lossy(&read(name)).into_owned();
        let end = Instant::now() + TIMEOUT;
        loop {
            std::thread::sleep(Duration::from_millis(300));
            if machine.0.try_wait()?.is_some() {
                break;
            }
            let console = text("console").to_lowercase();
            if until.iter().any(|words| console.contains(&words.to_lowercase())) {
                std::thread::sleep(AFTER_MESSAGE);
                break;
            }
            if Instant::now() > end {
                bail!("the machine did not come to an end\n{}", last_lines(&text("console")));
            }
        }
        drop(machine);
        Ok(FirmwareBoot { console: text("console"), verdict: text("verdict") })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.join("usr/share/OVMF").join(name)
    }

    fn command_line(&self, disk: &Path, vars: &Path, dir: &Path) -> Result<Command> {
        // Whatever happens to this process, the machine goes with it.
        let mut command = Command::new(process::require("setpriv")?);
        command.args(["--pdeathsig", "KILL"]).arg(process::require("qemu-system-x86_64")?);
        // Secure Boot needs the mode in which only the firmware can write its variables (SMM).
        command.args(["-M", "q35,usb=off,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"]);
        command.args(["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,-cx16", "-smp", "2", "-m", "768"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-nic", "none"]);
        for name in ["console", "verdict"] {
            command.arg("-serial").arg(format!("file:{}", dir.join(name).display()));
        }
        let shown = |path: &Path| path.display().to_string().replace(',', ",,");
        let code = shown(&self.file("OVMF_CODE_4M.secboot.fd"));
        command.arg("-drive").arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"));
        command.arg("-drive").arg(format!("if=pflash,format=raw,unit=1,file={}", shown(vars)));
        command.arg("-drive").arg(format!("file={},if=none,id=disk,format=raw,cache=unsafe", shown(disk)));
        command.args(["-device", "virtio-blk-pci,drive=disk,bootindex=0"]);
        Ok(command)
    }
}

/// What a machine has said.
pub(in crate::e2e) struct FirmwareBoot {
    /// The text on the console, of the firmware, the boot loader and the kernel.
    pub(in crate::e2e) console: String,
    /// What the first program of the image says: lines `KEY=VALUE`.
    pub(in crate::e2e) verdict: String,
}

impl FirmwareBoot {
    pub(in crate::e2e) fn value(&self, key: &str) -> Option<&str> {
        self.verdict.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='))
    }

    pub(in crate::e2e) fn last_lines(&self) -> String {
        last_lines(&self.console)
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// A machine that is killed when its keeper is done with it.
struct FirmwareMachine(Child);

impl Drop for FirmwareMachine {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
