//! Runs credential helpers: `docker-credential-NAME get`.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

use super::Credentials;
use crate::reference::DOCKER_HUB;

/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 1 << 16;
/// The user name that marks a secret as an identity token.
const TOKEN_USER: &str = "<token>";
/// The name under which docker stores the credentials of Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Answer of a helper.
#[derive(Deserialize)]
struct HelperAnswer {
    #[serde(rename = "Username")]
    user: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// Asks the helper `name` for the credentials of a host; `None` if it has none.
pub(super) fn get(name: &str, dirs: &[PathBuf], host: &str, limit: Duration) -> Result<Option<Credentials>, String> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.bytes().all(is_word) {
        return Err("its name has other characters than letters, digits, `-`, `_` and `.`".to_owned());
    }
    let program = format!("docker-credential-{name}");
    let path = dirs.iter().map(|dir| dir.join(&program)).find(|path| path.is_file());
    let path = path.ok_or("there is no such program in PATH: install it, or remove its name from the file")?;
    if host != DOCKER_HUB {
        return ask(&path, host, limit);
    }
    match ask(&path, HUB_KEY, limit)? {
        None => ask(&path, host, limit),
        found => Ok(found),
    }
}

fn ask(program: &Path, key: &str, limit: Duration) -> Result<Option<Credentials>, String> {
    let (succeeded, answer) = run(program, key, limit)?;
    if !succeeded {
        let text = String::from_utf8_lossy(&answer);
        let text = text.trim();
        // The helpers of docker all say this, on standard output.
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(text.chars().take(200).collect::<String>().escape_debug().to_string());
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&answer).map_err(|_| "its answer is not JSON with Username and Secret".to_owned())?;
    if answer.user.is_empty() && answer.secret.is_empty() {
        return Ok(None);
    }
    if answer.user == TOKEN_USER {
        return Ok(Some(Credentials::IdentityToken(answer.secret)));
    }
    Ok(Some(Credentials::Basic { user: answer.user, password: answer.secret }))
}

/// Runs the program without a shell, in a process group of its own, which is killed at the end of the time.
fn run(program: &Path, key: &str, limit: Duration) -> Result<(bool, Vec<u8>), String> {
    let end = Instant::now() + limit;
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input may still answer.
        let _ = stdin.write_all(key.as_bytes());
    }
    let (sender, receiver) = mpsc::channel();
    let stdout = child.stdout.take();
    // The pipe stays open as long as a child of the helper has it, so the thread may outlive the helper.
    thread::spawn(move || {
        let mut answer = Vec::new();
        let read = stdout.map(|out| out.take(LONGEST_ANSWER + 1).read_to_end(&mut answer));
        let _ = sender.send(read.transpose().map(|_| answer));
    });
    let answer = receiver.recv_timeout(limit);
    let status = wait(&mut child, end);
    let answer = match (answer, status) {
        (Ok(Ok(answer)), Some(succeeded)) => (succeeded, answer),
        (Ok(Err(error)), _) => return Err(format!("its answer cannot be read: {error}")),
        _ => return Err(format!("it did not end within {} seconds and was killed", limit.as_secs())),
    };
    if answer.1.len() as u64 > LONGEST_ANSWER {
        return Err(format!("its answer has more than {LONGEST_ANSWER} bytes"));
    }
    Ok(answer)
}

/// Waits for the end of the child, and reports whether it succeeded. Kills its group at the end of the time.
fn wait(child: &mut Child, end: Instant) -> Option<bool> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(5)),
            _ => break,
        }
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn helper(script: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        crate::credentials::tests::install(dir.path(), "docker-credential-test", script);
        dir
    }

    fn get_from(script: &str, host: &str) -> Result<Option<Credentials>, String> {
        let dir = helper(script);
        get("test", &[dir.path().to_owned()], host, Duration::from_secs(20))
    }

    #[test]
    fn answers() {
        let script =
            r#"[ "$1" = get ] && read -r host; printf '{"ServerURL":"","Username":"me","Secret":"%s"}' "$host""#;
        let basic = |password: &str| Credentials::Basic { user: "me".to_owned(), password: password.to_owned() };
        assert_eq!(get_from(script, "host.example"), Ok(Some(basic("host.example"))));
        assert_eq!(get_from(script, "docker.io"), Ok(Some(basic(HUB_KEY))));
        let token = Credentials::IdentityToken("t".to_owned());
        assert_eq!(get_from(r#"echo '{"Username":"<token>","Secret":"t"}'"#, "a.b"), Ok(Some(token)));
        assert_eq!(get_from("echo credentials not found in native keychain; exit 1", "a.b"), Ok(None));
    }

    #[test]
    fn failures_have_reasons() {
        let reason = |script: &str| get_from(script, "a.b").expect_err("the helper fails");
        assert_eq!(reason("printf 'locked\\033'; exit 1"), "locked\\u{1b}");
        assert!(reason("echo hello").contains("not JSON"));
        assert!(reason("head -c 70000 /dev/zero").contains("65536"));
        assert!(get("no", &[], "a.b", Duration::from_secs(1)).expect_err("no program").contains("PATH"));
        assert!(get("../x", &[], "a.b", Duration::from_secs(1)).expect_err("no name").contains("characters"));
    }

    #[test]
    fn a_helper_that_does_not_end_is_killed_with_its_children() {
        let dir = helper("sleep 600 & echo $! > \"$(dirname \"$0\")/pid\"; wait");
        let reason = get("test", &[dir.path().to_owned()], "a.b", Duration::from_secs(1)).expect_err("no answer");
        assert!(reason.contains("killed"), "{reason}");
        let pid = fs::read_to_string(dir.path().join("pid")).expect("the script has run");
        let state = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // A killed process may still be seen for a moment.
        let is_gone = || state().is_empty() || state().contains(") Z ");
        assert!(
            (0..1000).any(|_| {
                thread::sleep(Duration::from_millis(10));
                is_gone()
            }),
            "{}",
            state()
        );
    }
}
