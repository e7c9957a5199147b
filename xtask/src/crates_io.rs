//! Programs from crates.io that tasks use, built in one pinned version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process;

/// The profile a program is built with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// The release profile of the package, for programs that are timed.
    Release,
    /// Few optimizations and no LTO: takes about a third of the CPU time to build.
    Quick,
    /// No optimizations, for programs that only start others.
    Unoptimized,
}

impl Profile {
    /// Environment variables by which cargo overrides the release profile of a package.
    fn environment(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Profile::Release => &[],
            Profile::Quick => &[
                ("CARGO_PROFILE_RELEASE_LTO", "off"),
                ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
                ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
                ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
            ],
            Profile::Unoptimized => &[
                ("CARGO_PROFILE_RELEASE_LTO", "off"),
                ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
                ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
                ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
            ],
        }
    }
}

/// Returns the path of the program below `dir`, and builds it first unless a build of the wanted profile is there.
pub(crate) fn install(package: &str, version: &str, program: &str, dir: &Path, profile: Profile) -> Result<PathBuf> {
    let file = dir.join("bin").join(program);
    let mark = dir.join(format!("{program}.quick"));
    if !is_installed(&file, &mark, profile) {
        eprintln!("building {package} {version}");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["install", "--quiet", "--locked", "--force", package, "--version", version, "--root"]).arg(dir);
        cargo.envs(profile.environment().iter().copied());
        if profile != Profile::Release {
            fs::write(&mark, "")?;
        }
        // Without this cargo would use the target directory of the workspace.
        process::output(cargo.env("CARGO_TARGET_DIR", dir.join("target")))?;
        fs::remove_dir_all(dir.join("target"))?;
        if profile == Profile::Release && mark.exists() {
            fs::remove_file(&mark)?;
        }
    }
    Ok(file)
}

/// Reports whether the program is there; a quick build does not serve where a release build is wanted.
fn is_installed(file: &Path, mark: &Path, wanted: Profile) -> bool {
    file.exists() && (wanted != Profile::Release || !mark.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_build_is_not_timed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, mark) = (dir.path().join("program"), dir.path().join("program.quick"));
        assert!(!is_installed(&file, &mark, Profile::Quick));
        fs::write(&file, "").unwrap();
        assert!(is_installed(&file, &mark, Profile::Release));
        fs::write(&mark, "").unwrap();
        assert!(is_installed(&file, &mark, Profile::Quick));
        assert!(!is_installed(&file, &mark, Profile::Release));
    }
}
