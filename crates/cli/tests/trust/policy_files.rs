//! A policy that cannot be read, or that others may have written, refuses all.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::process::Command;

use libcomposefs_testkit::privilege::is_root;
use libcomposefs_testkit::skip;

use super::TrustingMachine;

#[test]
fn the_policy_of_containers_becomes_one_that_counts() {
    let Some(machine) = TrustingMachine::new("the_policy_of_containers_becomes_one_that_counts") else { return };
    let _ = machine.key("release");
    // A key that ssh-keygen signs with, and openssl writes.
    let pem = |name: &str| {
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ecdsa", "-b", "256", "-m", "PKCS8", "-N", "", "-f"]).arg(machine.path(name));
        assert!(make.status().unwrap().success());
        let mut public = Command::new("openssl");
        public.args(["pkey", "-pubout", "-in"]).arg(machine.path(name)).arg("-out").arg(machine.path("cosign.pub"));
        assert!(public.status().unwrap().success());
    };
    pem("ec");
    let signed = format!(r#"{{"type": "sigstoreSigned", "keyPath": "{}"}}"#, machine.text("cosign.pub"));
    let policy = |requirement: &str| {
        let scopes = format!(r#"{{"docker": {{"example.org/os": [{requirement}]}}}}"#);
        let text = format!(r#"{{"default": [{{"type": "reject"}}], "transports": {scopes}}}"#);
        fs::write(machine.path("policy.json"), text).unwrap();
    };
    let import = ["trust", "import-policy", &machine.text("policy.json")];
    policy(&signed);
    fs::write(machine.policy_file(), machine.ok("here", &import)).unwrap();
    let tag = ["tag", "built", "example.org/os/1"];
    machine.refused("here", &tag, &["no statement about the image"]);
    machine.ok("here", &["sign", "built", "--as=example.org/os/*", &format!("--key={}", machine.text("ec"))]);
    machine.ok("here", &tag);
    // What a rule cannot say, and a scope that stands twice.
    policy(r#"{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/none"}"#);
    machine.refused("here", &import, &["example.org/os", "\"signedBy\"", "by hand"]);
    fs::write(machine.path("policy.json"), r#"{"default": [{"type": "reject"}], "default": []}"#).unwrap();
    machine.refused("here", &import, &["policy.json"]);
}

#[test]
fn a_policy_that_cannot_be_used_refuses_all() {
    let Some(machine) = TrustingMachine::new("a_policy_that_cannot_be_used_refuses_all") else { return };
    machine.policy(&[], "[[rule]]\nname = \"*\"\naccept = true\n");
    let file = machine.policy_file();
    let tag = ["tag", "built", "one"];
    let mode = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    machine.ok("here", &tag);
    mode(&file, 0o664);
    machine.refused("here", &tag, &["policy.toml", "can be written by others", "chmod go-w"]);
    mode(&file, 0o644);
    machine.ok("here", &tag);
    mode(file.parent().unwrap(), 0o777);
    machine.refused("here", &tag, &["its directory can be written by others"]);
    mode(file.parent().unwrap(), 0o755);
    machine.ok("here", &tag);
    let good = fs::read(&file).unwrap();
    for (bytes, words) in [
        (&b"version = 2\n"[..], "version 2"),
        (b"version = 1\nnonsense = 1\n", "nonsense"),
        (b"", "version"),
        (&[b'#'; 2 << 20], "bytes"),
        (b"\xff", "policy"),
    ] {
        fs::write(&file, bytes).unwrap();
        machine.refused("here", &tag, &["cannot be used, so nothing is accepted", words]);
        machine.refused("here", &["trust", "show"], &[words]);
        // What neither names nor mounts anything does not ask.
        machine.ok("here", &["gc"]);
        machine.ok("here", &["fsck"]);
    }
    fs::remove_file(&file).unwrap();
    fs::write(machine.path("elsewhere.toml"), &good).unwrap();
    symlink(machine.path("elsewhere.toml"), &file).unwrap();
    machine.refused("here", &tag, &["it is a symlink"]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    machine.refused("here", &tag, &["policy.toml"]);
    fs::remove_dir(&file).unwrap();
    fs::write(&file, &good).unwrap();
    machine.ok("here", &tag);
}

#[test]
fn a_policy_of_another_user_is_refused() {
    let Some(machine) = TrustingMachine::new("a_policy_of_another_user_is_refused") else { return };
    machine.policy(&[], "[[rule]]\nname = \"*\"\naccept = true\n");
    if !is_root() {
        return skip::announce("a_policy_of_another_user_is_refused", "changing owners takes root");
    }
    chown(machine.policy_file(), Some(1234), None).unwrap();
    machine.refused("here", &["tag", "built", "one"], &["belongs to the user 1234"]);
    chown(machine.policy_file(), Some(0), None).unwrap();
    machine.ok("here", &["tag", "built", "one"]);
}

/// The policy of the machine, in a mount namespace in which `/etc` and `/var/lib` are others.
#[test]
fn the_policy_of_the_machine_and_that_of_the_user_must_both_accept() {
    let test = "the_policy_of_the_machine_and_that_of_the_user_must_both_accept";
    if !is_root() {
        return skip::announce(test, "mounting takes root");
    }
    let Some(machine) = TrustingMachine::new("the_policy_of_the_machine_and_that_of_the_user_must_both_accept") else {
        return;
    };
    machine.release_policy();
    machine.sign("release", "debian/13", &["--serial=5"]);
    fs::create_dir_all(machine.path("etc/composefs")).unwrap();
    fs::copy(machine.policy_file(), machine.path("etc/composefs/policy.toml")).unwrap();
    fs::create_dir_all(machine.path("var")).unwrap();
    fs::create_dir_all(machine.path("target")).unwrap();
    let inside = |command: &str| {
        let script = format!(
            "set -e; mount -t tmpfs tmpfs /etc; mkdir /etc/composefs; \
             cp \"$D\"/etc/composefs/policy.toml /etc/composefs; mount --bind \"$D\"/var /var/lib; {command}"
        );
        let mut shell = Command::new("unshare");
        shell.args(["-m", "sh", "-c", &script]).env("D", machine.0.path());
        shell.env("XDG_CONFIG_HOME", machine.path("config")).env("XDG_STATE_HOME", machine.path("state"));
        shell.env("C", env!("CARGO_BIN_EXE_composefs")).output().unwrap()
    };
    let both = inside(
        "\"$C\" --repo=\"$D\"/here tag built debian/13 && \"$C\" --repo=\"$D\"/here mount debian/13 \"$D\"/target",
    );
    assert!(both.status.success(), "{}", String::from_utf8_lossy(&both.stderr));
    for state in ["var", "state"] {
        let serials = fs::read_to_string(machine.path(state).join("composefs/serials.json")).unwrap();
        assert!(serials.contains("\"debian/*\": 5"), "{state}: {serials}");
    }
    // The user cannot accept what the machine refuses, nor the machine what the user refuses.
    for (machine_accepts, expected) in
        [(false, "/etc/composefs/policy.toml refuses"), (true, "config/composefs/policy.toml refuses")]
    {
        let all = "version = 1\n[[rule]]\nname = \"*\"\naccept = true\n";
        let none = "version = 1\n";
        let (first, second) = if machine_accepts { (all, none) } else { (none, all) };
        fs::write(machine.path("etc/composefs/policy.toml"), first).unwrap();
        fs::write(machine.policy_file(), second).unwrap();
        let refused = inside("\"$C\" --repo=\"$D\"/here tag built debian/13");
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && message.contains(expected), "{message}");
    }
}

#[test]
fn a_policy_counts_without_a_home_and_behind_no_dangling_link() {
    let test = "a_policy_counts_without_a_home_and_behind_no_dangling_link";
    let Some(machine) = TrustingMachine::new(test) else { return };
    machine.policy(&[], "");
    let homeless = || {
        let mut command = machine.command("here");
        command.env_remove("HOME").env_remove("XDG_STATE_HOME").args(["tag", "built", "one"]).output().unwrap()
    };
    assert_eq!(homeless().status.code(), Some(1));
    machine.policy(&[], "[[rule]]\nname = \"*\"\naccept = true\n");
    assert!(homeless().status.success());
    let directory = machine.path("config/composefs");
    fs::rename(&directory, machine.path("moved")).unwrap();
    symlink(machine.path("nowhere"), &directory).unwrap();
    machine.refused("here", &["tag", "built", "one"], &["cannot read the policy"]);
    fs::remove_file(&directory).unwrap();
    fs::write(&directory, "").unwrap();
    machine.refused("here", &["tag", "built", "one"], &["cannot read the policy"]);
    fs::remove_file(&directory).unwrap();
    machine.ok("here", &["tag", "built", "one"]);
}

/// As under `sudo -u` or `setpriv`, which may keep the home of root.
#[test]
fn a_home_of_another_user_has_no_policy_of_this_one() {
    let test = "a_home_of_another_user_has_no_policy_of_this_one";
    let Some(machine) = TrustingMachine::new(test) else { return };
    if !is_root() {
        return skip::announce(test, "running a program as another user takes root");
    }
    machine.policy(&[], "");
    let mode = |path: &str, mode| fs::set_permissions(machine.path(path), fs::Permissions::from_mode(mode)).unwrap();
    mode("", 0o755);
    mode("config", 0o700);
    let program = machine.path("composefs");
    fs::copy(env!("CARGO_BIN_EXE_composefs"), &program).unwrap();
    let show = || {
        let mut show = Command::new("setpriv");
        show.args(["--reuid=64998", "--regid=64998", "--clear-groups"]).arg(&program).args(["trust", "show"]);
        show.env("XDG_CONFIG_HOME", machine.path("config")).env("XDG_STATE_HOME", machine.path("state"));
        show.output().unwrap()
    };
    assert!(String::from_utf8_lossy(&show().stdout).contains("no policy"));
    // One that is seen but cannot be read is another thing.
    mode("config", 0o755);
    fs::set_permissions(machine.policy_file(), fs::Permissions::from_mode(0o600)).unwrap();
    let refused = show();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing is accepted"), "{refused:?}");
}

#[test]
fn an_image_file_is_judged_on_request() {
    let Some(machine) = TrustingMachine::new("an_image_file_is_judged_on_request") else { return };
    let image = format!("{}/images/{}", machine.text("here"), machine.digest("built"));
    let helper_of = |image: &str, options: &str| {
        let command = machine.command("here");
        let mut mount = Command::new(command.get_program());
        // The name decides what the program is.
        std::os::unix::process::CommandExt::arg0(&mut mount, "mount.composefs");
        mount.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let options = format!("basedir={}/objects{options}", machine.text("here"));
        let output = mount.args(["-f", "-o", &options, image, &machine.text("tree")]).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let helper = |options: &str| helper_of(&image, options);
    assert_eq!(helper(""), (Some(0), String::new()));
    let refused = |options: &str, words: &str| {
        let (status, message) = helper(options);
        assert!(status == Some(1) && message.contains(words), "{options}: {message}");
    };
    refused(",policy=debian/13", "needs a policy");
    refused(",policy=", "policy");
    refused(",policy=debian/13,verity_check=1", "policy");
    machine.release_policy();
    // Without policy= nothing is asked, as always.
    assert_eq!(helper("").0, Some(0));
    // A file that the kernel knows no digest of; `vmtest` has the twins that are mounted.
    let copy = machine.text("copy");
    std::fs::copy(&image, &copy).unwrap();
    let (status, message) = helper_of(&copy, ",policy=debian/13");
    assert!(status == Some(1) && message.contains("it has no fs-verity"), "{message}");
    assert!(message.contains("cannot be judged by a policy"), "{message}");
    let repository = ["mount", "built", &machine.text("tree"), "-opolicy=debian/13", "--dry-run"];
    machine.refused("here", &repository, &["is for image files"]);
}
