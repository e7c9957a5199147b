//! Commits that a real ostree has signed by Ed25519 (`crates/ostree/tests/data/README.md`): a rule for commits accepts
//! and refuses them when they are imported.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::TrustingMachine;

const FIRST: &str = "j15Bx70KDMwnt7stkwn8Akiq57avXA2YfFdwDV4wMiU=";
const SECOND: &str = "4daKj07RtnatuuBt9+dXuU5d8jNakBBN/GIz2UyhAA4=";
const OTHER: &str = "b02G8YOmdqblDVTYyMf9KjUHcAqcjXpmxFi4sI51JAA=";

fn unpack(machine: &TrustingMachine) -> String {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ostree/tests/data/signed.tar.xz");
    let mut tar = Command::new("tar");
    tar.arg("-xJf").arg(archive).arg("-C").arg(machine.path("")).arg("--no-same-owner");
    assert!(tar.status().unwrap().success());
    machine.text("signed")
}

/// A policy with three keys and rules for commits.
fn policy(rules: &str, more: &str) -> String {
    let keys = [("first", FIRST), ("second", SECOND), ("other", OTHER)];
    let keys: String = keys.iter().map(|(name, key)| format!("[key.{name}]\nostree = \"{key}\"\n{more}")).collect();
    format!("default = \"accept\"\n{keys}{rules}")
}

fn rule(name: &str, keys: &str, threshold: usize) -> String {
    format!("[[commit]]\nname = \"{name}\"\nkeys = [{keys}]\nthreshold = {threshold}\n")
}

#[test]
fn commits_are_imported_if_they_are_signed() {
    let Some(machine) = TrustingMachine::new("commits_are_imported_if_they_are_signed") else { return };
    let ostree = unpack(&machine);
    let ok = |branch: &str| machine.ok("here", &["ostree", "import", &ostree, branch, "--name=os"]);
    let refused = |branch: &str, reasons: &[&str]| {
        let line = ["ostree", "import", &ostree, branch, "--name=os"];
        machine.ok("here", &["gc", "--grace=0"]);
        let objects = || Command::new("find").arg(machine.path("here/objects")).output().unwrap().stdout;
        let before = objects();
        machine.refused("here", &line, &[reasons, &["policy.toml refuses commit", "\nremedy: "]].concat());
        assert_eq!(objects(), before, "something was stored");
    };
    // Without a policy, and with one that has no rule for the name, nothing is demanded.
    ok("os/unsigned");
    machine.policy(&[], &policy(&rule("elsewhere", "\"first\"", 1), ""));
    ok("os/unsigned");

    machine.policy(&[], &policy(&rule("o*", "\"first\", \"other\"", 1), ""));
    let said = ok("os/one");
    assert!(said.contains("trusted: first (rule o* for commits)"), "{said}");
    ok("os/two");
    refused("os/unsigned", &["1 of the keys first, other", "none has signed"]);
    // The name of the image decides about the rule.
    machine.ok("here", &["ostree", "import", &ostree, "os/unsigned", "--name=free"]);

    machine.policy(&[], &policy(&rule("os", "\"first\", \"second\"", 2), ""));
    ok("os/two");
    refused("os/one", &["2 of the keys first, second", "first signed it"]);
    machine.policy(&[], &policy(&rule("os", "\"other\"", 1), ""));
    refused("os/one", &["1 of the keys other"]);
    machine.policy(&[], &policy(&rule("os", "\"first\"", 1), "revoked = \"lost\"\n"));
    refused("os/one", &["first signed it and is revoked: lost"]);

    // The commit of another branch under the name of this one, and a commit that names no branch.
    machine.policy(&[], &policy(&rule("os", "\"first\"", 1), ""));
    let one = fs::read_to_string(machine.path("signed/refs/heads/os/one")).unwrap();
    fs::write(machine.path("signed/refs/heads/os/moved"), &one).unwrap();
    refused("os/moved", &["a commit of os/one, not of the branch os/moved", "by its checksum"]);
    refused("os/unbound", &["a commit of none, not of the branch os/unbound"]);
    ok(one.trim());
    fs::create_dir_all(machine.path("signed/refs/remotes/server/os")).unwrap();
    fs::write(machine.path("signed/refs/remotes/server/os/one"), &one).unwrap();
    ok("server:os/one");

    // A changed signature.
    let one = one.trim();
    let detached = machine.path(&format!("signed/objects/{}/{}.commitmeta", &one[..2], &one[2..]));
    let good = fs::read(&detached).unwrap();
    let mut bad = good.clone();
    bad[40] ^= 1;
    fs::write(&detached, bad).unwrap();
    refused("os/one", &["none has signed"]);
    fs::write(&detached, good).unwrap();
    ok("os/one");
}

#[test]
fn verify_asks_for_keys() {
    let Some(machine) = TrustingMachine::new("verify_asks_for_keys") else { return };
    let ostree = unpack(&machine);
    let verify = |branch: &str, key: &str| {
        let key = format!("--key={key}");
        machine.run("here", &["ostree", "verify", &ostree, branch, &key, "--json"])
    };
    let keys = machine.text("keys");
    fs::write(&keys, format!("# keys\n{OTHER}\n\n{FIRST}\n")).unwrap();
    for key in [FIRST, &keys] {
        // The commit records no digest of its image, which is another error.
        let output = verify("os/one", key);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("\"signed_by\": \"{FIRST}\"")), "{output:?}");
    }
    for (branch, key, reason) in [
        ("os/one", SECOND, "signed by none of the keys: it has 1 Ed25519"),
        ("os/unsigned", FIRST, "it has 0 Ed25519"),
        ("os/one", "AAAA", "it has 3 bytes"),
        ("os/one", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "no public key"),
        ("os/one", "/no/such/file", "cannot open /no/such/file"),
    ] {
        let output = verify(branch, key);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && message.contains(reason), "{branch} {key}: {message}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("signed_by"), "{output:?}");
    }
}

#[test]
fn rules_for_commits_that_could_mislead_are_refused() {
    let Some(machine) = TrustingMachine::new("rules_for_commits_that_could_mislead_are_refused") else { return };
    let ssh = machine.key("person");
    let person = format!("[key.person]\nssh = \"{ssh}\"\n");
    let other_rule = "[[rule]]\nname = \"os\"\nkeys = [\"first\"]\n";
    for (rules, reason) in [
        (rule("os", "\"first\"", 2), "its threshold is 2"),
        (rule("os", "\"first\"", 0), "its threshold is 0"),
        (rule("os", "\"missing\"", 1), "add a table [key.missing]"),
        (format!("{person}{}", rule("os", "\"person\"", 1)), "signs no commits"),
        (rule("os", "\"first\"", 1).repeat(2), "join the two"),
        (other_rule.to_owned(), "signs commits of ostree"),
        (format!("[key.again]\nostree = \"{FIRST}\"\n"), "the same key"),
        ("[key.weak]\nostree = \"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n".to_owned(), "no public key"),
    ] {
        machine.policy(&[], &policy(&rules, ""));
        machine.refused("here", &["trust", "show"], &[reason]);
    }
    machine.policy(&[], &policy(&format!("{person}{}", rule("os", "\"first\"", 1)), ""));
    let shown = machine.ok("here", &["trust", "show"]);
    assert!(shown.contains(FIRST) && shown.contains("commits of ostree for os: signed by 1 of first"), "{shown}");
}
