//! Serial numbers and times: older statements are refused after a mount of a newer one.

use std::fs;

use libcomposefs_testkit::privilege::is_root;
use libcomposefs_testkit::skip;

use super::TrustingMachine;

fn mount(machine: &TrustingMachine, name: &str) -> std::process::Output {
    let target = machine.path("target");
    fs::create_dir_all(&target).unwrap();
    let output = machine.run("here", &["mount", name, target.to_str().unwrap()]);
    if output.status.success() {
        assert!(target.join("file").exists());
        let mounts = machine.json("here", &["mounts", "--json"]);
        let trust = &mounts[0]["trust"];
        assert_eq!((&trust["name"], &trust["policies"][0]["keys"][0]), (&name.into(), &"release".into()), "{mounts}");
        let listed = machine.ok("here", &["mounts"]);
        assert!(listed.contains(&format!("    {name}: trusted: release (rule debian/*), by ")), "{listed}");
        machine.ok("here", &["umount", target.to_str().unwrap()]);
    }
    output
}

#[test]
fn a_mount_raises_the_floor() {
    if !is_root() {
        return skip::announce("a_mount_raises_the_floor", "mounting takes root");
    }
    let Some(machine) = TrustingMachine::new("a_mount_raises_the_floor") else { return };
    machine.release_policy();
    machine.sign("release", "debian/13", &["--serial=7"]);
    machine.ok("here", &["tag", "built", "debian/13"]);
    fs::write(machine.path("tree/file"), "older").unwrap();
    machine.ok("here", &["create", &machine.text("tree"), "--name=older"]);
    let key = format!("--key={}", machine.text("release"));
    machine.ok("here", &["sign", "older", &key, "--as=debian/12", "--serial=6"]);
    machine.ok("here", &["tag", "older", "debian/12"]);
    // A command is run only on an image that is accepted.
    let run = |name: &str| {
        let output = machine.run("here", &["run", name, "--rw", "--", "/missing"]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, message) = run("built");
    assert!(status == Some(125) && message.contains("refuses built"), "{message}");
    machine.ok("here", &["tag", "built", "free/13"]);
    let (status, message) = run("free/13");
    assert!(status == Some(127) && !message.contains("refuses"), "{message}");
    // What only looks changes nothing.
    machine.ok("here", &["trust", "check", "debian/13"]);
    machine.ok("here", &["mount", "debian/13", "/", "--dry-run"]);
    let serials = machine.path("state/composefs/serials.json");
    assert!(!serials.exists());
    assert!(mount(&machine, "debian/12").status.success());
    assert!(mount(&machine, "debian/13").status.success());
    assert!(fs::read_to_string(&serials).unwrap().contains("\"debian/*\": 7"));
    let refused = mount(&machine, "debian/12");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("trust allow-older"), "{message}");
    let lowered = machine.ok("here", &["trust", "allow-older", "debian/12", "--serial=6"]);
    assert!(lowered.contains("debian/*: serial number 7 or higher was accepted, now 6"), "{lowered}");
    assert!(mount(&machine, "debian/12").status.success());
    assert!(machine.ok("here", &["trust", "allow-older", "debian/12", "--serial=6"]).contains("nothing to do"));
    machine.refused("here", &["trust", "allow-older", "ubuntu"], &["no policy has a rule for ubuntu"]);
    // Without the numbers nothing is accepted.
    for wrong in [&b"no JSON"[..], b"[]"] {
        fs::write(&serials, wrong).unwrap();
        machine.refused("here", &["mount", "debian/13", "/", "--dry-run"], &["serials.json, so nothing is accepted"]);
    }
    fs::remove_file(&serials).unwrap();
    fs::create_dir(&serials).unwrap();
    machine.refused("here", &["mount", "debian/13", "/", "--dry-run"], &["serials.json, so nothing is accepted"]);
    fs::remove_dir(&serials).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &serials, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    machine.refused("here", &["mount", "debian/13", "/", "--dry-run"], &["it is no regular file"]);
    fs::remove_file(&serials).unwrap();
    machine.ok("here", &["mount", "debian/13", "/", "--dry-run"]);
    let many: Vec<String> = (0..10_000).map(|number| format!("\"rule{number}\": 1")).collect();
    fs::write(&serials, format!("{{{}}}", many.join(","))).unwrap();
    let full = mount(&machine, "debian/13");
    assert!(String::from_utf8_lossy(&full.stderr).contains("has no room for another rule"), "{full:?}");
    fs::remove_file(&serials).unwrap();
    assert!(mount(&machine, "debian/13").status.success());
}

#[test]
fn expired_statements_are_refused_when_an_image_gets_a_name() {
    let Some(machine) = TrustingMachine::new("expired_statements_are_refused_when_an_image_gets_a_name") else {
        return;
    };
    machine.release_policy();
    machine.sign("release", "debian/13", &["--serial=7"]);
    machine.ok("here", &["tag", "built", "debian/13"]);
    fs::remove_dir_all(machine.path("here/signatures")).unwrap();
    machine.sign("release", "debian/13", &["--expires=2020-01-01T00:00:00Z"]);
    machine.refused("here", &["tag", "built", "debian/13"], &["expired", "check the clock"]);
    machine.refused("here", &["trust", "check", "debian/13", "--first-use"], &[]);
    // At a mount it is a warning, unless the policy says otherwise.
    let mount = ["mount", "debian/13", "/", "--dry-run"];
    let output = machine.run("here", &mount);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && message.contains("has expired"), "{message}");
    let text = fs::read_to_string(machine.policy_file()).unwrap();
    fs::write(machine.policy_file(), text.replace("version = 1\n", "version = 1\nenforce_expiry = \"mount\"\n"))
        .unwrap();
    machine.refused("here", &mount, &["expired"]);
    machine.sign("release", "debian/13", &["--expires=90d"]);
    machine.ok("here", &mount);
}
