//! A Debian system of its own for an engine: built once by debootstrap, kept in the cache, entered through namespaces.
//!
//! Nothing that is mounted or started in one is seen on the machine or outlives its command.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::install::NAMES;
use crate::test::libtest::Reader;
use crate::test::report::Suite;
use crate::{apt, artifacts, paths, process};

/// The Debian system an engine needs.
pub(crate) struct ChrootRecipe {
    /// The name of its directory in the cache.
    pub(crate) name: &'static str,
    /// Debian suite to install.
    pub(crate) suite: &'static str,
    /// The packages besides the minimal system.
    pub(crate) packages: &'static [&'static str],
}

/// A Debian system that is ready for use.
pub(crate) struct Chroot {
    root: PathBuf,
}

/// File with the recipe that a system was built of.
const STAMP: &str = "etc/composefs-e2e";
/// Script that runs a command in the system.
const ENTER: &str = include_str!("enter.sh");
/// Functions that all scripts in the system have.
const WORDS: &str = include_str!("words.sh");

impl ChrootRecipe {
    /// The system, built if it is not there or was built for other packages.
    pub(crate) fn set_up(&self) -> Result<Chroot> {
        let dir = paths::cache("chroots")?;
        let _lock = paths::lock(&dir)?;
        let root = dir.join(self.name);
        let stamp = root.join(STAMP);
        let wanted = format!("{} {}\n", self.suite, self.packages.join(" "));
        if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(Chroot { root });
        }
        if root.exists() {
            Chroot { root: root.clone() }.remove()?;
        }
        eprintln!("e2e: building a Debian {} with {}", self.suite, self.packages.join(", "));
        let work = Chroot { root: dir.join(format!(".{}", self.name)) };
        if work.root.exists() {
            work.remove()?;
        }
        let mut debootstrap = Command::new(process::require("debootstrap")?);
        debootstrap.args(["--variant=minbase", "--include=ca-certificates", self.suite]).arg(&work.root);
        process::output(debootstrap.arg(apt::mirror()?))
            .with_context(|| format!("cannot build Debian {}", self.suite))?;
        // Nothing is started at installation, and names are resolved as on the machine.
        work.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)?;
        fs::copy("/etc/resolv.conf", work.root.join("etc/resolv.conf")).ok();
        let mut install = work.command(Net::Machine, &["apt-get", "install", "--yes", "--no-install-recommends"]);
        process::output(install.args(self.packages).env("DEBIAN_FRONTEND", "noninteractive"))?;
        process::output(&mut work.command(Net::Own, &["apt-get", "clean"]))?;
        work.write(STAMP, &wanted, 0o644)?;
        // It takes its name when it is whole.
        fs::rename(&work.root, &root)?;
        Ok(Chroot { root })
    }
}

/// Network that a command sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Net {
    /// The machine's: only for installing packages.
    Machine,
    /// A loopback of its own.
    Own,
}

impl Chroot {
    /// Returns the path on the host of a file in the system.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A command in it: as root, with mounts and processes of its own, which end with it.
    pub(crate) fn command(&self, net: Net, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]);
        if net == Net::Own {
            command.arg("--net");
        }
        command.args(["sh", "-ec", ENTER, "enter"]).arg(&self.root).args(words);
        command.env_clear().envs([
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ]);
        command
    }

    /// Runs a script of bash in it, whose checks report as Rust's tests do; it finds `arguments` as `$1` and so on.
    pub(crate) fn suite(&self, name: &str, text: &str, arguments: &[&str]) -> Result<Vec<Suite>> {
        let text = format!("{WORDS}\n{text}");
        let words: Vec<&str> = ["bash", "-uc", &text, name].iter().chain(arguments).copied().collect();
        let mut command = self.command(Net::Own, &words);
        let start = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut reader = Reader::of_program("e2e", name);
        for line in BufReader::new(child.stdout.take().context("no output")?).lines() {
            let line = line?;
            println!("[{name}] {line}");
            reader.line(&line);
        }
        let status = child.wait()?;
        let mut suites = reader.finish();
        if let Some(suite) = suites.last_mut() {
            suite.took = start.elapsed();
        }
        if !status.success() && suites.iter().all(|suite| suite.failed == 0) {
            suites.push(Suite::broken(
                "e2e",
                name,
                format!("the script in the chroot ended otherwise than it said: {status}"),
            ));
        }
        Ok(suites)
    }

    /// Puts a file of ours into it.
    pub(crate) fn install(&self, file: &Path, name: &str) -> Result<()> {
        let to = self.path(name);
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir)?;
        }
        // A program of an earlier run may still be mapped: it keeps its file.
        let _ = fs::remove_file(&to);
        fs::copy(file, &to).with_context(|| format!("cannot copy {} to {}", file.display(), to.display()))?;
        Ok(())
    }

    /// Puts our program into it, under all its names.
    pub(crate) fn install_ours(&self) -> Result<()> {
        let program = artifacts::program()?;
        for name in ["composefs"].iter().chain(NAMES) {
            self.install(&program, &format!("usr/local/bin/{name}"))?;
        }
        // Where mount(8) looks.
        self.install(&program, "usr/sbin/mount.composefs")
    }

    /// A copy of it for one use, in which things may be changed.
    pub(crate) fn copy(&self, name: &str) -> Result<Chroot> {
        let copy = Chroot { root: self.root.with_file_name(format!(".{name}")) };
        if copy.root.exists() {
            copy.remove()?;
        }
        process::output(Command::new("cp").args(["-a", "--reflink=auto"]).args([&self.root, &copy.root]))?;
        Ok(copy)
    }

    /// A copy that stays, made anew if it is of another system than this.
    pub(crate) fn kept_copy(&self, name: &str) -> Result<Chroot> {
        let kept = Chroot { root: self.root.with_file_name(name) };
        let _lock = paths::lock(&paths::cache("chroots")?)?;
        let stamp = |chroot: &Chroot| fs::read_to_string(chroot.path(STAMP)).ok();
        if kept.root.exists() && stamp(&kept) != stamp(self) {
            kept.remove()?;
        }
        if !kept.root.exists() {
            // It takes its name when it is whole.
            fs::rename(self.copy(name)?.root, &kept.root)?;
        }
        Ok(kept)
    }

    /// Copies a tree into it that is not there yet.
    pub(crate) fn copy_once(&self, tree: &Path, name: &str) -> Result<()> {
        let (to, work) = (self.path(name), self.path(&format!("{name}.new")));
        if to.exists() {
            return Ok(());
        }
        fs::create_dir_all(to.parent().context("no parent")?)?;
        process::output(Command::new("rm").arg("-rf").arg(&work))?;
        process::output(Command::new("cp").args(["-a", "--reflink=auto"]).arg(tree).arg(&work))?;
        Ok(fs::rename(work, to)?)
    }

    /// Writes a file in it.
    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let to = self.path(name);
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(&to, text)?;
        Ok(fs::set_permissions(&to, fs::Permissions::from_mode(mode))?)
    }

    /// Takes it away. Engines make files that even root cannot remove before their attribute is off.
    pub(crate) fn remove(&self) -> Result<()> {
        let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(&self.root).output();
        process::output(Command::new("rm").args(["-rf", "--one-file-system"]).arg(&self.root)).map(drop)
    }
}
