//! Finds the runtime: crun, or else runc.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Where Debian has the runtimes, in addition to the `PATH` of the caller.
const DIRECTORIES: [&str; 2] = ["/usr/bin", "/usr/sbin"];

/// The program of a runtime.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RuntimeProgram {
    /// Path of the program.
    pub(super) path: PathBuf,
}

impl RuntimeProgram {
    /// Name for messages.
    pub(super) fn name(&self) -> String {
        self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }

    /// Returns true for crun, which has options that runc lacks.
    pub(super) fn is_crun(&self) -> bool {
        self.name().starts_with("crun")
    }
}

/// Finds the program of the name or path `asked`, or the first runtime that is installed.
pub(super) fn find(asked: Option<&OsStr>, path: Option<OsString>) -> anyhow::Result<RuntimeProgram> {
    let directories: Vec<PathBuf> = std::env::split_paths(&path.unwrap_or_default())
        .filter(|directory| directory.is_absolute())
        .chain(DIRECTORIES.map(PathBuf::from))
        .collect();
    let find = |name: &OsStr| directories.iter().map(|directory| directory.join(name)).find(|path| is_program(path));
    let path = match asked {
        Some(asked) if asked.as_encoded_bytes().contains(&b'/') => {
            let path = std::path::absolute(asked).with_context(|| format!("runtime {}", asked.display()))?;
            if !is_program(&path) {
                bail!("the runtime {} is no program", path.display());
            }
            path
        }
        Some(asked) => find(asked).with_context(|| format!("the runtime {} is not in PATH", asked.display()))?,
        None => ["crun", "runc"]
            .into_iter()
            .find_map(|name| find(OsStr::new(name)))
            .context("no OCI runtime is installed: install crun or runc (Debian packages of the same names)")?,
    };
    Ok(RuntimeProgram { path })
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn crun_comes_before_runc_in_all_directories() {
        let dir = tempfile::tempdir().unwrap();
        let program = |name: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let (runc, crun) = (program("a/runc"), program("b/crun"));
        fs::create_dir(dir.path().join("a/crun")).unwrap();
        let path = std::env::join_paths([dir.path().join("a"), dir.path().join("b")]).unwrap();
        let found = |asked: Option<&Path>| find(asked.map(Path::as_os_str), Some(path.clone())).map(|found| found.path);
        assert_eq!(found(None).unwrap(), crun);
        assert_eq!(found(Some(Path::new("runc"))).unwrap(), runc);
        assert_eq!(found(Some(&runc)).unwrap(), runc);
        assert!(found(Some(Path::new("no-such-runtime"))).is_err());
        assert!(found(Some(dir.path())).is_err());
    }
}
