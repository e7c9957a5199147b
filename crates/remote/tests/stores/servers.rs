//! Servers that a test starts, on ports that the kernel chooses. They end with their values.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use libcomposefs_testkit::skip;

use crate::real::has_programs;

const NGINX: &str = "/usr/sbin/nginx";

/// A running server.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a command, and waits until it answers at a port.
fn started(command: &mut Command, port: u16) -> Server {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut server = Server { child, port };
    for _ in 0..1500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return server;
        }
        assert_eq!(server.child.try_wait().unwrap(), None, "{command:?} ended");
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{command:?} does not answer");
}

/// Starts nginx with the files of a directory. `more` are lines of the server's section.
pub(crate) fn nginx(test: &str, root: &Path, home: &Path, more: &str) -> Option<Server> {
    if !Path::new(NGINX).exists() {
        skip::announce(test, "nginx is not installed");
        return None;
    }
    let port = free_port();
    let home_text = home.display();
    // As root, nginx would read the files as another user.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let text = format!(
        "{user} daemon off; master_process off; pid {home_text}/pid; error_log {home_text}/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; client_body_temp_path {home_text}/b; proxy_temp_path {home_text}/p;\n\
         fastcgi_temp_path {home_text}/f; uwsgi_temp_path {home_text}/u; scgi_temp_path {home_text}/s;\n\
         server {{ listen 127.0.0.1:{port}; root {}; {more} }} }}\n",
        root.display()
    );
    fs::write(home.join("nginx.conf"), text).unwrap();
    let mut command = Command::new(NGINX);
    command.arg("-p").arg(home).arg("-c").arg(home.join("nginx.conf"));
    Some(started(&mut command, port))
}

/// Starts Python's http.server, which ignores ranges.
pub(crate) fn python(test: &str, root: &Path) -> Option<Server> {
    if !has_programs(test, &["python3"]) {
        return None;
    }
    let mut command = Command::new("python3");
    command.args(["-u", "-m", "http.server", "--bind", "127.0.0.1", "0", "--directory"]).arg(root);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    let mut server = Server { child, port: 0 };
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let port = line.split(" port ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    server.port = port.unwrap_or_else(|| panic!("http.server says {line:?}"));
    Some(server)
}

/// Starts moto, a server for S3.
pub(crate) fn moto(test: &str) -> Option<Server> {
    let Some(program) = std::env::var_os("COMPOSEFS_MOTO").map(PathBuf::from) else {
        skip::announce(test, "moto is not there: COMPOSEFS_MOTO=$(cargo xtask moto)");
        return None;
    };
    let port = free_port();
    let mut command = Command::new(program);
    command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
    Some(started(&mut command, port))
}

/// Makes a bucket as an ordinary client would.
pub(crate) fn make_bucket(port: u16, name: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = format!("PUT /{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\n");
    // moto takes the region from the authorization, which it does not check.
    let authorization = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, \
                         Signature=0";
    stream.write_all(format!("{head}Authorization: {authorization}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
}
