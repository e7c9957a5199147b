//! A docker-registry of its own for each test, on a free port of the loopback address.

use std::fs;
use std::net::{TcpListener, TcpStream};
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
        for _ in 0..10 {
            // Another process may take the port in between.
            let port = free_port();
            let config = configuration(port, dir.path(), setup);
            fs::write(dir.path().join("config.yml"), config).expect("a file");
            let log = fs::File::create(dir.path().join("log")).expect("a file");
            let mut command = Command::new("docker-registry");
            command.arg("serve").arg(dir.path().join("config.yml")).stdin(Stdio::null());
            command.stdout(Stdio::null()).stderr(log);
            let mut child = command.spawn().expect("docker-registry starts");
            if answers(port, &mut child) {
                return Self { child, port, dir };
            }
            let _ = (child.kill(), child.wait());
        }
        panic!("docker-registry does not start: {}", fs::read_to_string(dir.path().join("log")).unwrap_or_default());
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

fn configuration(port: u16, dir: &Path, setup: &Setup<'_>) -> String {
    let text = format!(
        "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    \
         rootdirectory: DIR/storage\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:{port}\n{}{}",
        setup.http, setup.auth
    );
    text.replace("DIR", &dir.display().to_string())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn answers(port: u16, child: &mut Child) -> bool {
    for _ in 0..500 {
        if child.try_wait().expect("a child").is_some() {
            return false;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            // The process that listens may be another one, if this one has ended for that reason.
            thread::sleep(Duration::from_millis(20));
            return child.try_wait().expect("a child").is_none();
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}
