//! The program and the library, built as for a release.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

use crate::{paths, process};

static BUILDS_QUICKLY: AtomicBool = AtomicBool::new(false);

/// From now on this process builds without optimization across crates, which takes half of the time of a release build.
/// For tests in their short form.
pub(crate) fn build_quickly() {
    BUILDS_QUICKLY.store(true, Ordering::Relaxed);
}

/// Builds `libcomposefs.so` and returns its path. Always as for a release: its size is tested.
pub(crate) fn library() -> Result<PathBuf> {
    process::run(release("build").args(["--quiet", "-p", "libcomposefs-capi"]))?;
    Ok(dir().join("libcomposefs.so"))
}

/// Builds the program `composefs` and returns its path.
pub(crate) fn program() -> Result<PathBuf> {
    process::run(cargo("build").args(["--quiet", "-p", "composefs-cli"]))?;
    Ok(dir().join("composefs"))
}

/// The two builds of the program of an initramfs.
#[derive(Clone, Debug)]
pub(crate) struct BootPrograms {
    /// The small one, which boots by digest.
    pub(crate) plain: PathBuf,
    /// The one that boots by name too.
    pub(crate) by_name: PathBuf,
}

/// Builds the programs of an initramfs: static and small, with its own profile. Where the compiler
/// has no library for musl and cannot fetch it, the program has glibc in it and is larger.
pub(crate) fn boot_programs() -> Result<BootPrograms> {
    let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let Err(error) = install_target(&musl) else { return static_boot_programs(&musl) };
    eprintln!("{BOOT_PROGRAM}: linked to glibc, as {error:#}");
    build_boot_programs(&musl.replace("musl", "gnu"), "RUSTFLAGS", "-Ctarget-feature=+crt-static")
}

/// Builds it for this target, whose libc is musl.
pub(crate) fn static_boot_programs(target: &str) -> Result<BootPrograms> {
    install_target(target)?;
    // The target has its own start files and libc: no cross compiler is needed.
    build_boot_programs(target, "LINKER", "rust-lld")
}

/// Builds them for a target with this setting of cargo.
fn build_boot_programs(target: &str, setting: &str, value: &str) -> Result<BootPrograms> {
    let setting = format!("CARGO_TARGET_{}_{setting}", target.to_uppercase().replace('-', "_"));
    let build = |name: &str, features: &[&str]| -> Result<PathBuf> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(paths::checkout()).args(["build", "--quiet", "--profile", "boot", "-p", "composefs-boot"]);
        process::run(cargo.args(["--bin", name, "--target", target]).args(features).env(&setting, value))?;
        Ok(paths::target().join(target).join("boot").join(name))
    };
    let by_name = build(BY_NAME_PROGRAM, &["--features=name"])?;
    Ok(BootPrograms { plain: build(BOOT_PROGRAM, &[])?, by_name })
}

/// The name of the program of an initramfs.
pub(crate) const BOOT_PROGRAM: &str = "composefs-setup-root";
/// The name of its build that boots by name.
pub(crate) const BY_NAME_PROGRAM: &str = "composefs-setup-root-by-name";

/// Has the compiler's library for a target fetched, if it is not there.
pub(crate) fn install_target(target: &str) -> Result<()> {
    let libraries = process::text(Command::new("rustc").args(["--print", "target-libdir", "--target", target]))?;
    if !Path::new(libraries.trim()).exists() {
        let mut rustup = Command::new("rustup");
        process::output(rustup.current_dir(paths::checkout()).args(["target", "add", target]))
            .with_context(|| format!("the compiler has no library for {target}, and cannot get it"))?;
    }
    Ok(())
}

/// The directory of what [`cargo`] builds.
pub(crate) fn dir() -> PathBuf {
    paths::target().join("release")
}

/// Cargo with the task `build` or `test`, and the options of a release build, or of a quick one.
pub(crate) fn cargo(task: &str) -> Command {
    let mut cargo = release(task);
    if BUILDS_QUICKLY.load(Ordering::Relaxed) {
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    }
    cargo
}

fn release(task: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(paths::checkout()).args([task, "--release"]);
    cargo
}
