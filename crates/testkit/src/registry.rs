//! Debian's docker-registry, on a free port of the loopback interface.

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A registry that ends with this value.
#[derive(Debug)]
pub struct DockerRegistry {
    process: Child,
    /// Its address, as `HOST:PORT`.
    pub address: String,
}

impl DockerRegistry {
    /// Starts a registry whose configuration and storage are in a directory, which is made. `None` if docker-registry
    /// is not installed.
    ///
    /// # Panics
    ///
    /// If the registry cannot be started, or does not answer.
    #[must_use]
    pub fn start(directory: &Path) -> Option<Self> {
        fs::create_dir_all(directory).expect("the directory of the registry");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let (address, storage) = (format!("127.0.0.1:{port}"), directory.join("storage"));
        let text = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            storage.display()
        );
        let config = directory.join("registry.yml");
        fs::write(&config, text).expect("the configuration of the registry");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            process => process.expect("docker-registry is started"),
        };
        let registry = Self { process, address };
        let mut tries = 0;
        while TcpStream::connect(&registry.address).is_err() {
            tries += 1;
            assert!(tries < 600, "the registry does not answer");
            thread::sleep(Duration::from_millis(100));
        }
        Some(registry)
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}
