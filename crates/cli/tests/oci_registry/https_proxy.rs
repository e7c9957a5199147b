//! Pulls by Debian's tinyproxy from a registry with TLS, in a network of their own: no proxy is used for loopback
//! addresses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use libcomposefs_testkit::{privilege, skip};

use super::writer::{self, WrittenFile};
use super::{COMPOSEFS, has_programs, write_layout};

const REGISTRY: &str = "192.0.2.1:5000";
const PROXY: &str = "192.0.2.2:8888";

/// A program that ends with the value.
struct NetworkProgram(Child);

impl Drop for NetworkProgram {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// A network without other machines, with a registry and a proxy. Fields are dropped in this order.
struct ProxyNetwork {
    _servers: [NetworkProgram; 2],
    holder: NetworkProgram,
    dir: tempfile::TempDir,
}

/// Returns a command in the network that this process holds.
fn inside(holder: &NetworkProgram, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", holder.0.id())).arg(program).stdin(Stdio::null());
    command
}

#[track_caller]
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Waits until a file has this text.
#[track_caller]
fn wait_for(path: &Path, text: &str) {
    for _ in 0..1000 {
        if fs::read_to_string(path).is_ok_and(|content| content.contains(text)) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{}: {:?}", path.display(), fs::read_to_string(path));
}

fn hold_network() -> NetworkProgram {
    let holder = NetworkProgram(Command::new("unshare").args(["--net", "sleep", "600"]).spawn().unwrap());
    let (ours, theirs) = ("/proc/self/ns/net", format!("/proc/{}/ns/net", holder.0.id()));
    while fs::read_link(ours).unwrap() == fs::read_link(&theirs).unwrap() {
        thread::sleep(Duration::from_millis(5));
    }
    run(inside(&holder, "ip").args(["link", "set", "lo", "up"]));
    for address in ["192.0.2.1/32", "192.0.2.2/32"] {
        run(inside(&holder, "ip").args(["address", "add", address, "dev", "lo"]));
    }
    holder
}

/// Makes two authorities, and a certificate of the first for the registry.
fn certificates(dir: &Path) {
    let openssl = |arguments: String| run(Command::new("openssl").args(arguments.split(' ')).current_dir(dir));
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for name in ["ca", "other"] {
        openssl(format!("req -x509 {key} -subj /CN={name} -days 2 -keyout {name}.key -out {name}.crt"));
    }
    openssl(format!("req {key} -subj /CN=registry -keyout server.key -out server.csr"));
    fs::write(dir.join("names"), "subjectAltName=IP:192.0.2.1\n").unwrap();
    let signed = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names";
    openssl(format!("x509 -req -in server.csr {signed} -out server.crt"));
}

impl ProxyNetwork {
    /// Starts both servers, and writes an image into the registry.
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        let holder = hold_network();
        let at = dir.path().display().to_string();
        let tls = format!("{{certificate: {at}/server.crt, key: {at}/server.key}}");
        let storage = format!("storage: {{filesystem: {{rootdirectory: {at}/data}}}}");
        let config = format!("version: 0.1\n{storage}\nhttp: {{addr: \"{REGISTRY}\", tls: {tls}}}\n");
        fs::write(dir.path().join("registry.yml"), config).unwrap();
        let config = format!("Listen 192.0.2.2\nPort 8888\nLogFile \"{at}/proxy.log\"\nLogLevel Connect\n");
        fs::write(dir.path().join("proxy.conf"), config).unwrap();
        let mut registry = inside(&holder, "docker-registry");
        registry.arg("serve").arg(dir.path().join("registry.yml")).stdout(Stdio::null()).stderr(Stdio::null());
        let mut proxy = inside(&holder, "tinyproxy");
        proxy.args(["-d", "-c"]).arg(dir.path().join("proxy.conf")).stdout(Stdio::null()).stderr(Stdio::null());
        let servers = [registry, proxy].map(|mut command| NetworkProgram(command.spawn().unwrap()));
        for port in [5000, 8888] {
            let listening = format!(":{port:04X} 00000000:0000 0A");
            wait_for(Path::new(&format!("/proc/{}/net/tcp", holder.0.id())), &listening);
        }
        let network = Self { _servers: servers, holder, dir };
        let files: Vec<WrittenFile> = vec![("usr/file".to_owned(), vec![b"content".repeat(100)])];
        write_layout(&network.file("layout"), &writer::write(&files), "one");
        let (from, to) = (format!("oci:{at}/layout:one"), format!("docker://{REGISTRY}/image:one"));
        let mut skopeo = inside(&network.holder, "skopeo");
        run(skopeo.args(["--insecure-policy", "copy", "--dest-tls-verify=false", &from, &to]));
        network
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Pulls the image by the proxy, or with other variables. Returns the output, and the number of requests that the
    /// proxy has had.
    fn pull(&self, authority: &str, more: &[(&str, &str)], options: &[&str]) -> (Output, usize) {
        let asked = || {
            let log = fs::read_to_string(self.file("proxy.log")).unwrap();
            log.lines().filter(|line| line.contains(&format!("CONNECT {REGISTRY}"))).count()
        };
        let before = asked();
        let mut command = inside(&self.holder, COMPOSEFS);
        for name in ["https_proxy", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY"] {
            command.env_remove(name);
        }
        command.env("HTTPS_PROXY", format!("http://{PROXY}")).env("SSL_CERT_FILE", self.file(authority));
        command.envs(more.iter().copied()).arg("--repo").arg(self.file("repo"));
        let source = format!("docker://{REGISTRY}/image:one");
        let output = command.args(["oci", "pull", &source, "--name=image"]).args(options).output().unwrap();
        (output, asked() - before)
    }
}

#[test]
fn the_proxy_and_the_authority_of_the_environment_are_used() {
    let name = "https_proxy::the_proxy_and_the_authority_of_the_environment_are_used";
    if !privilege::is_root() {
        return skip::announce(name, "only root can make a network");
    }
    let programs = ["docker-registry", "tinyproxy", "skopeo", "openssl", "ip", "nsenter", "unshare"];
    if !has_programs(name, &programs) {
        return;
    }
    let network = ProxyNetwork::start();
    run(Command::new(COMPOSEFS).arg("--repo").arg(network.file("repo")).args(["init", "--insecure"]));

    let (other, requests) = network.pull("other.crt", &[], &[]);
    let message = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && message.contains("certs.d/192.0.2.1:5000/ca.crt"), "{message}");
    assert!(requests > 0, "the proxy was not asked");
    let (pulled, requests) = network.pull("ca.crt", &[], &[]);
    assert!(pulled.status.success() && requests > 0, "{requests} {pulled:?}");
    for list in ["192.0.2.1", "other.test, 192.0.2.0/24", "*"] {
        let (direct, requests) = network.pull("ca.crt", &[("NO_PROXY", list)], &[]);
        assert!(direct.status.success() && requests == 0, "{list}: {requests} {direct:?}");
    }
    let (listed, requests) = network.pull("ca.crt", &[("NO_PROXY", "192.0.2.2,other.test")], &[]);
    assert!(listed.status.success() && requests > 0, "{requests} {listed:?}");
    let (insecure, requests) = network.pull("other.crt", &[], &["--tls-verify=false"]);
    assert!(insecure.status.success() && requests > 0, "{requests} {insecure:?}");
    let (dead, _) = network.pull("ca.crt", &[("HTTPS_PROXY", "http://192.0.2.2:1")], &[]);
    let message = String::from_utf8_lossy(&dead.stderr);
    assert!(!dead.status.success() && message.contains("proxy settings"), "{message}");
}
