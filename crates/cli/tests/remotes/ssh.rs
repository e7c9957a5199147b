//! Remotes on another machine: a real sshd on the loopback address, with keys made by the test.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use libcomposefs_testkit::skip;

use super::{COMPOSEFS, Place};

const SSHD: &str = "/usr/sbin/sshd";

/// A running sshd, which ends with the value.
struct Sshd {
    child: Child,
    port: u16,
    place: Place,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

impl Sshd {
    /// Starts sshd for the user of the test. `limits` stand before the key in authorized_keys; `DIR` is the directory.
    fn start(test: &str, limits: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() {
            skip::announce(test, "sshd is not installed (openssh-server)");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip::announce(test, "sshd is started by root");
            return None;
        }
        let place = Place::new(200);
        let dir = &place.dir;
        let path = |name: &str| place.path(name);
        for key in ["host_key", "user_key"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path(key));
            assert!(keygen.stdin(Stdio::null()).status().unwrap().success());
        }
        let public = |key: &str| fs::read_to_string(path(&format!("{key}.pub"))).unwrap();
        let limits = limits.replace("DIR", &dir.path().display().to_string());
        fs::write(path("authorized_keys"), format!("{limits} {}", public("user_key"))).unwrap();
        // The directory in which the unprivileged part of sshd is confined; it belongs to the package.
        fs::create_dir_all("/run/sshd").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let programs = Path::new(COMPOSEFS).parent().unwrap().display();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host_key\nAuthorizedKeysFile {0}/authorized_keys\n\
             StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nPasswordAuthentication no\n\
             SetEnv PATH={programs}:/usr/bin:/bin\n",
            dir.path().display()
        );
        fs::write(path("sshd_config"), config).unwrap();
        let host_key = public("host_key");
        let words: Vec<_> = host_key.split(' ').take(2).collect();
        fs::write(path("known_hosts"), format!("[127.0.0.1]:{port} {}\n", words.join(" "))).unwrap();
        let script = format!(
            "#!/bin/sh\nexec ssh -F /dev/null -i {0}/user_key -o IdentitiesOnly=yes -o BatchMode=yes \
             -o UserKnownHostsFile={0}/known_hosts \"$@\"\n",
            dir.path().display()
        );
        fs::write(path("ssh"), script).unwrap();
        fs::set_permissions(path("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        let log = fs::File::create(path("log")).unwrap();
        let mut sshd = Command::new(SSHD);
        sshd.args(["-D", "-e", "-f"]).arg(path("sshd_config")).stdin(Stdio::null()).stderr(log);
        let mut sshd = Self { child: sshd.spawn().unwrap(), port, place };
        for _ in 0..1500 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(sshd);
            }
            assert_eq!(sshd.child.try_wait().unwrap(), None, "{}", sshd.log());
            thread::sleep(Duration::from_millis(20));
        }
        panic!("sshd does not answer: {}", sshd.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place.path("log")).unwrap_or_default()
    }

    fn url(&self, name: &str) -> String {
        format!("ssh://127.0.0.1:{}{}", self.port, self.place.path(name).display())
    }
}

#[test]
fn images_go_there_and_back() {
    let Some(sshd) = Sshd::start("ssh::images_go_there_and_back", "restrict") else { return };
    let url = sshd.url("remote dir's");
    sshd.place.ok("here", &["push", "image", &url]);
    sshd.place.ok("there", &["plan", &url, "image"]);
    sshd.place.ok("there", &["pull", &url, "image"]);
    sshd.place.same();
    // Nothing is sent twice, and the remote can be cleaned.
    sshd.place.ok("here", &["push", "image", &url]);
    sshd.place.ok("here", &["remote", "gc", &url, "--grace=0"]);
    sshd.place.ok("there", &["pull", &url, "image"]);
}

#[test]
fn a_lazy_mount_reads_over_ssh() {
    let test = "ssh::a_lazy_mount_reads_over_ssh";
    if fs::File::open("/dev/fuse").is_err() {
        return skip::announce(test, "there is no /dev/fuse");
    }
    let Some(sshd) = Sshd::start(test, "restrict") else { return };
    let (url, target) = (sshd.url("remote"), sshd.place.path("mnt"));
    let target_text = target.to_str().unwrap();
    fs::create_dir(&target).unwrap();
    sshd.place.ok("here", &["push", "image", sshd.place.path("remote").to_str().unwrap()]);
    sshd.place.ok("there", &["mount", &format!("--lazy={url}"), "image", target_text]);
    let read = |number: usize| {
        let file = format!("f{number}");
        fs::read(target.join(&file)).is_ok_and(|found| found == fs::read(sshd.place.path("tree").join(file)).unwrap())
    };
    let is_right = read(7) && read(150);
    sshd.place.ok("there", &["umount", target_text]);
    assert!(is_right, "{}", sshd.log());
}

#[test]
fn a_forced_command_limits_a_key() {
    let limits = "command=\"composefs remote serve --stdio --read-only DIR/remote\",restrict";
    let Some(sshd) = Sshd::start("ssh::a_forced_command_limits_a_key", limits) else { return };
    let remote = sshd.place.path("remote");
    sshd.place.ok("here", &["push", "image", remote.to_str().unwrap()]);
    // The path of the URL does not matter.
    let url = sshd.url("elsewhere");
    sshd.place.ok("there", &["pull", &url, "image"]);
    for command in [&["push", "image", &url, "--as=other"][..], &["remote", "gc", &url, "--grace=0"]] {
        let refused = sshd.place.run("here", command);
        assert!(refused.status != Some(0) && refused.stderr.contains("read only"), "{refused:?}");
    }
    assert!(!sshd.place.path("elsewhere").exists());
}

#[test]
fn failures_of_ssh_say_what_to_do() {
    let Some(sshd) = Sshd::start("ssh::failures_of_ssh_say_what_to_do", "restrict") else { return };
    fs::write(sshd.place.path("authorized_keys"), "").unwrap();
    let refused = sshd.place.run("here", &["push", "image", &sshd.url("remote")]);
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("Permission denied") && refused.stderr.contains("ssh 127.0.0.1"), "{refused:?}");
    let user_key = fs::read_to_string(sshd.place.path("user_key.pub")).unwrap();
    for (limits, words) in [("command=\"echo Welcome\"", "Welcome"), ("command=\"exit 3\"", "closed")] {
        fs::write(sshd.place.path("authorized_keys"), format!("{limits} {user_key}")).unwrap();
        let refused = sshd.place.run("here", &["push", "image", &sshd.url("remote")]);
        assert!(refused.status == Some(1) && refused.stderr.contains(words), "{limits}: {refused:?}");
    }
}
