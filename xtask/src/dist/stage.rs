//! Everything that is installed, in its place below a directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::man;
use crate::install::NAMES;
use crate::{artifacts, paths, process};

pub(super) const LIBDIR: &str = "usr/lib/x86_64-linux-gnu";
/// The file behind the name that programs ask for.
pub(super) const LIBRARY: &str = "usr/lib/x86_64-linux-gnu/libcomposefs.so.1.4.0";
/// The name that programs are linked by.
pub(super) const DEVELOPMENT_LINK: &str = "usr/lib/x86_64-linux-gnu/libcomposefs.so";
pub(super) const PKG_CONFIG: &str = "usr/lib/x86_64-linux-gnu/pkgconfig";
/// The page of the program of an initramfs.
pub(super) const BOOT_PAGE: &str = "usr/share/man/man8/composefs-setup-root.8.gz";
/// Each shell, and where its completions are looked for.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/composefs"),
    ("zsh", "usr/share/zsh/vendor-completions/_composefs"),
    ("fish", "usr/share/fish/vendor_completions.d/composefs.fish"),
];
const PACKAGES: &[&str] = &["composefs", "composefs-initramfs", "libcomposefs1", "libcomposefs-dev"];
/// The files of `crates/boot/initramfs`, their places and modes.
const INITRAMFS: &[(&str, &str, u32)] = &[
    ("composefs-setup-root.service", "usr/lib/dracut/modules.d/37composefs/composefs-setup-root.service", 0o644),
    ("dracut/module-setup.sh", "usr/lib/dracut/modules.d/37composefs/module-setup.sh", 0o755),
    ("initramfs-tools/hook", "usr/share/initramfs-tools/hooks/composefs", 0o755),
    ("initramfs-tools/local-bottom", "usr/share/initramfs-tools/scripts/local-bottom/composefs", 0o755),
];

/// The units of `crates/cli/systemd`: those that check the booted image and accept a good boot, and that of lazy
/// mounts.
const UNITS: [&str; 3] = ["composefs-bless.service", "composefs-check.service", "composefs-lazy@.service"];

/// A tree as it would be below `/`.
pub(crate) struct Staged {
    pub(crate) root: PathBuf,
}

impl Staged {
    /// Builds programs, library, man pages and completions. `version` is what pkg-config says.
    pub(super) fn build(root: &Path, version: &str) -> Result<Self> {
        let staged = Self { root: root.to_owned() };
        let program = artifacts::program()?;
        staged.binary(&program, "usr/bin/composefs", 0o755)?;
        for name in NAMES.iter().filter(|name| **name != "mount.composefs") {
            staged.link("composefs", &format!("usr/bin/{name}"))?;
        }
        staged.link("../bin/composefs", "usr/sbin/mount.composefs")?;
        staged.binary(&artifacts::library()?, LIBRARY, 0o644)?;
        staged.link("libcomposefs.so.1.4.0", &format!("{LIBDIR}/libcomposefs.so.1"))?;
        staged.link("libcomposefs.so.1", DEVELOPMENT_LINK)?;
        staged.development(version)?;
        staged.initramfs()?;
        for unit in UNITS {
            let text = fs::read(paths::checkout().join("crates/cli/systemd").join(unit))?;
            staged.file(&format!("usr/lib/systemd/system/{unit}"), &text)?;
        }
        man::write(&program, &root.join("usr/share/man"))?;
        for (shell, path) in COMPLETIONS {
            let script = process::output(Command::new(&program).args(["completion", shell]))?;
            staged.file(path, &script)?;
        }
        for package in PACKAGES {
            staged.documents(&format!("usr/share/doc/{package}"))?;
        }
        Ok(staged)
    }

    /// Headers and the file of pkg-config.
    fn development(&self, version: &str) -> Result<()> {
        let capi = paths::checkout().join("crates/capi");
        for entry in fs::read_dir(capi.join("include/libcomposefs"))? {
            let header = entry?.path();
            let name = header.file_name().context("no name")?.to_string_lossy().into_owned();
            self.file(&format!("usr/include/libcomposefs/{name}"), &fs::read(&header)?)?;
        }
        let template = fs::read_to_string(capi.join("composefs.pc.in"))?;
        let text = template
            .replace("@PREFIX@", "/usr")
            .replace("@LIBDIR@", &format!("/{LIBDIR}"))
            .replace("@VERSION@", version);
        self.file(&format!("{PKG_CONFIG}/composefs.pc"), text.as_bytes())
    }

    /// The programs of an initramfs, and what makes an initramfs with them.
    pub(crate) fn initramfs(&self) -> Result<()> {
        let artifacts::BootPrograms { plain, by_name } = artifacts::boot_programs()?;
        for (name, program) in [(artifacts::BOOT_PROGRAM, plain), (artifacts::BY_NAME_PROGRAM, by_name)] {
            self.binary(&program, &format!("usr/lib/composefs/{name}"), 0o755)?;
        }
        let from = paths::checkout().join("crates/boot/initramfs");
        for (file, path, mode) in INITRAMFS {
            self.file(path, &fs::read(from.join(file))?)?;
            fs::set_permissions(self.root.join(path), fs::Permissions::from_mode(*mode))?;
        }
        Ok(())
    }

    fn documents(&self, dir: &str) -> Result<()> {
        let read = |name: &str| fs::read_to_string(paths::checkout().join(name));
        let text = format!(
            "composefs is licensed under either of the MIT licence or the Apache License, \
             version 2.0, at your option. A part of it is derived from other software, whose \
             notices are at the end.\n\n{}\n{}\n{}\n{}",
            read("LICENSE-MIT")?,
            read("LICENSE-APACHE")?,
            read("crates/oci/LICENSES/Zlib.txt")?,
            read("crates/oci/LICENSES/BSD-3-Clause-Go.txt")?
        );
        self.file(&format!("{dir}/copyright"), text.as_bytes())?;
        self.gzipped(&format!("{dir}/changelog.gz"), read("CHANGELOG.md")?.as_bytes())
    }

    fn file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let to = self.root.join(path);
        fs::create_dir_all(to.parent().context("no parent")?)?;
        fs::write(&to, bytes)?;
        Ok(fs::set_permissions(&to, fs::Permissions::from_mode(0o644))?)
    }

    fn gzipped(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let plain = path.trim_end_matches(".gz");
        self.file(plain, bytes)?;
        process::output(Command::new("gzip").args(["-9n"]).arg(self.root.join(plain))).map(drop)
    }

    /// A program or library, without what is for debuggers.
    fn binary(&self, from: &Path, path: &str, mode: u32) -> Result<()> {
        let to = self.root.join(path);
        fs::create_dir_all(to.parent().context("no parent")?)?;
        process::output(Command::new(process::require("strip")?).arg("--strip-unneeded").arg("-o").args([&to, from]))?;
        Ok(fs::set_permissions(&to, fs::Permissions::from_mode(mode))?)
    }

    fn link(&self, target: &str, path: &str) -> Result<()> {
        let at = self.root.join(path);
        fs::create_dir_all(at.parent().context("no parent")?)?;
        Ok(symlink(target, at)?)
    }

    /// Copies those files whose paths are wanted, by which `wanted` is asked without a slash before.
    pub(super) fn copy(&self, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let mut pending = vec![PathBuf::new()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(self.root.join(&dir))? {
                let entry = entry?;
                let path = dir.join(entry.file_name());
                let (from, into) = (entry.path(), to.join(&path));
                if entry.file_type()?.is_dir() {
                    pending.push(path);
                } else if wanted(&path.to_string_lossy()) {
                    fs::create_dir_all(into.parent().context("no parent")?)?;
                    if entry.file_type()?.is_symlink() {
                        symlink(fs::read_link(&from)?, into)?;
                    } else {
                        fs::copy(&from, into)?;
                    }
                }
            }
        }
        Ok(())
    }
}
