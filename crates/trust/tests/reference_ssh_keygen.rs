//! Signatures that the real `ssh-keygen` makes, with each kind of key.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use libcomposefs_image::Digest;
use libcomposefs_testkit::skip;
use libcomposefs_trust::{Evidence, Floors, Moment, NAMESPACE, NamePattern, Question, Statement, TrustPolicy, decide};

const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn has_ssh_keygen(test: &str) -> bool {
    let is_here = Command::new("ssh-keygen").arg("-?").stderr(Stdio::null()).status().is_ok();
    if !is_here {
        skip::announce(test, "ssh-keygen is not installed (Debian: openssh-client)");
    }
    is_here
}

fn ssh_keygen(directory: &Path, arguments: &[&str]) {
    let output = Command::new("ssh-keygen").current_dir(directory).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a key and signs the statement with it. Returns the public key and the signature.
fn sign(kind: &[&str], options: &[&str], statement: &str) -> (String, Vec<u8>) {
    let directory = tempfile::tempdir().unwrap();
    ssh_keygen(directory.path(), &[&["-q", "-N", "", "-f", "key"], kind].concat());
    fs::write(directory.path().join("statement"), statement).unwrap();
    let sign = ["-q", "-Y", "sign", "-f", "key", "-n", NAMESPACE];
    ssh_keygen(directory.path(), &[&sign, options, &["statement"]].concat());
    let public = fs::read_to_string(directory.path().join("key.pub")).unwrap();
    (public.trim().to_owned(), fs::read(directory.path().join("statement.sig")).unwrap())
}

fn policy(public: &str) -> Result<TrustPolicy, libcomposefs_trust::TrustPolicyError> {
    let text = format!("version = 1\n[key.a]\nssh = \"{public}\"\n[[rule]]\nname = \"*\"\nkeys = [\"a\"]\n");
    TrustPolicy::parse(text.as_bytes())
}

#[test]
fn every_kind_of_key_is_accepted() {
    if !has_ssh_keygen("every_kind_of_key_is_accepted") {
        return;
    }
    let digest = Digest::from_hex(HEX).unwrap();
    let statement = Statement::new(digest, NamePattern::new("debian/*").unwrap(), 1).to_line();
    let floors = Floors::default();
    let question =
        Question { name: "debian/13", digest, now: SystemTime::now(), moment: Moment::FirstUse, floors: &floors };
    let cases: [(&[&str], &[&str]); 6] = [
        (&["-t", "ed25519"], &[]),
        (&["-t", "ed25519"], &["-O", "hashalg=sha256"]),
        (&["-t", "ecdsa", "-b", "256"], &[]),
        (&["-t", "ecdsa", "-b", "384"], &[]),
        (&["-t", "rsa", "-b", "2048"], &[]),
        (&["-t", "rsa", "-b", "3072"], &["-O", "hashalg=sha256"]),
    ];
    for (kind, options) in cases {
        let (public, signature) = sign(kind, options, &statement);
        let policy = policy(&public).unwrap();
        let with = |statement: &str| Evidence {
            statement: statement.as_bytes().to_vec(),
            signatures: vec![signature.clone()],
        };
        let accepted = decide(&policy, &question, &[with(&statement)]).unwrap_or_else(|e| panic!("{kind:?}: {e}"));
        assert_eq!(accepted.to_string(), "trusted: a (rule *)");
        let changed = statement.replace("\"serial\":1", "\"serial\":2");
        let refusal = decide(&policy, &question, &[with(&changed)]).expect_err("other bytes").to_string();
        assert!(refusal.contains("signed other bytes"), "{kind:?}: {refusal}");
    }
}

#[test]
fn weak_keys_are_refused() {
    if !has_ssh_keygen("weak_keys_are_refused") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (bits, is_accepted) in [("1024", false), ("2048", true)] {
        let name = format!("key{bits}");
        ssh_keygen(directory.path(), &["-q", "-N", "", "-t", "rsa", "-b", bits, "-f", &name]);
        let public = fs::read_to_string(directory.path().join(format!("{name}.pub"))).unwrap();
        let answer = policy(public.trim());
        assert_eq!(answer.is_ok(), is_accepted, "{bits}: {answer:?}");
    }
}
