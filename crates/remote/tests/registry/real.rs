//! A docker-registry of its own for each test, on a free port of the loopback address.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use libcomposefs_testkit::skip;

/// A running registry, which ends with the value.
pub(crate) struct Registry {
    child: Child,
    pub(crate) port: u16,
    /// Directory of the registry, which tests may use as well.
    pub(crate) dir: tempfile::TempDir,
}

/// Further parts of the configuration.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// Lines below `http:`.
    pub(crate) http: &'a str,
    /// The section `auth:`.
    pub(crate) auth: &'a str,
    /// Files to write before, by name and text; `DIR` in the lines is their directory.
    pub(crate) files: &'a [(&'a str, &'a str)],
}

impl Registry {
    /// Starts a registry. The test `name` is announced as skipped if a program is missing.
    pub(crate) fn start(name: &str, setup: &Setup<'_>) -> Option<Self> {
        if !has_programs(name, &["docker-registry"]) {
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory");
        Some(Self::start_in(dir, setup))
    }

    /// Starts a registry with its files in a directory.
    pub(crate) fn start_in(dir: tempfile::TempDir, setup: &Setup<'_>) -> Self {
        for (file, text) in setup.files {
            fs::write(dir.path().join(file), text).expect("a file");
        }
        let config = configuration(dir.path(), setup);
        fs::write(dir.path().join("config.yml"), config).expect("a file");
        let log = dir.path().join("log");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(dir.path().join("config.yml")).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child =
            command.stderr(fs::File::create(&log).expect("a file")).spawn().expect("docker-registry starts");
        for _ in 0..1000 {
            if let Some(port) = port(&fs::read_to_string(&log).unwrap_or_default()) {
                return Self { child, port, dir };
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = (child.kill(), child.wait());
        panic!("docker-registry does not start: {}", fs::read_to_string(log).unwrap_or_default());
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// Reports whether all programs are installed, and announces the test as skipped otherwise.
pub(crate) fn has_programs(name: &str, programs: &[&str]) -> bool {
    let exists = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
    };
    match programs.iter().find(|program| !exists(program)) {
        Some(missing) => skip::announce(name, &format!("{missing} is not installed")),
        None => return true,
    }
    false
}

fn configuration(dir: &Path, setup: &Setup<'_>) -> String {
    let text = format!(
        "version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
         rootdirectory: DIR/storage\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:0\n{}{}",
        setup.http, setup.auth
    );
    text.replace("DIR", &dir.display().to_string())
}

/// The port that the registry has chosen, by its log.
fn port(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("listening on 127.0.0.1:")?;
    // The line is complete, and so is the number.
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse().ok()
}
