//! `sign` and `trust check`: what is signed, by ssh-keygen alone too, and what does not count.

use std::fs::{self, File};
use std::process::Command;

use libcomposefs_testkit::skip;

use super::TrustingMachine;

#[test]
fn without_a_policy_nothing_is_demanded() {
    let Some(machine) = TrustingMachine::new("without_a_policy_nothing_is_demanded") else { return };
    assert!(machine.ok("here", &["trust", "check", "built"]).contains("no policy"));
    assert!(machine.ok("here", &["trust", "show"]).contains("no policy"));
    machine.ok("here", &["tag", "built", "debian/13"]);
    machine.release_policy();
    machine.refused("here", &["tag", "built", "debian/13"], &["policy.toml refuses debian/13", "sign it"]);
    let show = machine.ok("here", &["trust", "show"]);
    assert!(show.contains("debian/*: signed by 1 of release") && show.contains("SHA256:"), "{show}");
}

#[test]
fn a_signature_of_the_key_of_the_rule_counts() {
    let Some(machine) = TrustingMachine::new("a_signature_of_the_key_of_the_rule_counts") else { return };
    machine.release_policy();
    machine.sign("other", "debian/13", &[]);
    machine.refused("here", &["tag", "built", "debian/13"], &["the rule does not name its key"]);
    assert!(!machine.has_ref("here", "debian/13"));
    machine.sign("release", "debian/13", &["--serial=7"]);
    machine.ok("here", &["tag", "built", "debian/13"]);
    let check = machine.json("here", &["trust", "check", "debian/13", "--json"]);
    assert_eq!((&check["accepted"], &check["signatures"]), (&true.into(), &2.into()), "{check}");
    let policy = &check["policies"][0];
    assert_eq!((&policy["keys"][0], &policy["serial"]), (&"release".into(), &7.into()), "{check}");
    // Another name, with its twin: a statement for all names that begin so.
    machine.refused("here", &["tag", "built", "debian/12"], &["debian/12", "have this name signed"]);
    machine.sign("release", "debian/*", &[]);
    machine.ok("here", &["tag", "built", "debian/12"]);
    // A name without a rule, and one that is free.
    machine.refused("here", &["tag", "built", "ubuntu/24"], &["add a rule for the name"]);
    machine.ok("here", &["tag", "built", "free/one"]);
    machine.refused("here", &["sign", "debian/13", "--key=/nowhere"], &["ssh-keygen could not sign with /nowhere"]);
}

#[test]
fn the_list_of_images_says_who_vouches_for_them() {
    let Some(machine) = TrustingMachine::new("the_list_of_images_says_who_vouches_for_them") else { return };
    let trust = |machine: &TrustingMachine| machine.json("here", &["images", "--json"])["images"][0]["trust"].clone();
    assert!(trust(&machine).is_null());
    machine.ok("here", &["tag", "built", "debian/13"]);
    machine.ok("here", &["untag", "built"]);
    machine.release_policy();
    let refused = trust(&machine);
    assert_eq!((&refused[0]["name"], &refused[0]["policies"][0]["accepted"]), (&"debian/13".into(), &false.into()));
    assert!(machine.ok("here", &["images"]).contains("    debian/13: refused: "));
    let key = format!("--key={}", machine.text("release"));
    machine.ok("here", &["sign", "debian/13", &key]);
    let accepted = &trust(&machine)[0]["policies"][0];
    assert_eq!((&accepted["accepted"], &accepted["keys"][0]), (&true.into(), &"release".into()), "{accepted}");
    let listed = machine.ok("here", &["images"]);
    assert!(listed.contains("    debian/13: trusted: release (rule debian/*), by "), "{listed}");
    fs::write(machine.policy_file(), "version = 2\n").unwrap();
    let output = machine.run("here", &["images"]);
    assert!(!output.status.success() && output.stdout.ends_with(b" ref debian/13\n"), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("policy.toml"), "{output:?}");
    assert_eq!(machine.ok("here", &["images", "--quiet"]), "debian/13\n");
}

#[test]
fn a_kernel_signature_counts_for_the_certificate_of_the_rule() {
    let test = "a_kernel_signature_counts_for_the_certificate_of_the_rule";
    let Some(machine) = TrustingMachine::new(test) else { return };
    if Command::new("fsverity").arg("--version").output().is_err() {
        return skip::announce(test, "fsverity is not installed (Debian: fsverity)");
    }
    let image = format!("here/images/{}", machine.digest("built"));
    let run = |line: &str| {
        let mut words = line.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).current_dir(machine.path("")).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for key in ["kernel", "other"] {
        run(&format!(
            "openssl req -new -x509 -nodes -newkey rsa:2048 -keyout {key}.key -out {key}.pem -subj /CN={key}"
        ));
    }
    let certificate = fs::read_to_string(machine.path("kernel.pem")).unwrap();
    let rule = "[[rule]]\nname = \"debian/*\"\nkeys = [\"kernel\"]\n";
    machine.policy(&[], &format!("[key.kernel]\npkcs7 = \"\"\"\n{certificate}\"\"\"\n{rule}"));
    let tag = ["tag", "built", "debian/13"];
    for (key, says) in [("other", "the rule does not name its key of the certificate"), ("kernel", "")] {
        run(&format!("fsverity sign {image} {key}.p7s --key={key}.key --cert={key}.pem"));
        let added = machine.ok("here", &["sign", "built", &format!("--pkcs7={}", machine.text(&format!("{key}.p7s")))]);
        assert!(added.ends_with("serial 0, 1 new signature\n"), "{added}");
        if !says.is_empty() {
            machine.refused("here", &tag, &[says]);
        }
    }
    machine.ok("here", &tag);
    assert!(machine.ok("here", &["trust", "check", "debian/13"]).contains("trusted: kernel (rule debian/*)"));
    // It travels as other signatures do.
    machine.ok("here", &["push", "debian/13", &machine.text("remote")]);
    machine.ok("there", &["init", "--insecure"]);
    machine.ok("there", &["pull", &machine.text("remote"), "debian/13"]);
    // A file that is no signature; its twin is above.
    let wrong = format!("--pkcs7={}", machine.text("kernel.pem"));
    machine.refused("here", &["sign", "built", &wrong], &["kernel.pem", "not a PKCS#7 signature"]);
}

#[test]
fn two_signatures_of_one_key_are_one() {
    let Some(machine) = TrustingMachine::new("two_signatures_of_one_key_are_one") else { return };
    let rule = "[[rule]]\nname = \"debian/*\"\nkeys = [\"release\", \"audit\"]\nthreshold = 2\n";
    machine.policy(&["release", "audit"], rule);
    let statement = machine.ok("here", &["sign", "built", "--as=debian/13", "--print"]);
    fs::write(machine.path("statement"), statement).unwrap();
    let add = |key: &str| {
        let mut sign = Command::new("ssh-keygen");
        let _ = fs::remove_file(machine.path("statement.sig"));
        sign.args(["-q", "-Y", "sign", "-n", "composefs-image", "-f"]).arg(machine.path(key));
        assert!(sign.arg(machine.path("statement")).status().unwrap().success());
        machine.ok("here", &["sign", "--add", &machine.text("statement"), &machine.text("statement.sig")])
    };
    assert!(add("release").contains("1 new signature"));
    assert!(add("release").contains("0 new signatures"));
    machine.refused("here", &["tag", "built", "debian/13"], &["1 of 2"]);
    add("audit");
    machine.ok("here", &["tag", "built", "debian/13"]);
}

#[test]
fn a_statement_beside_another_image_does_not_count() {
    let Some(machine) = TrustingMachine::new("a_statement_beside_another_image_does_not_count") else { return };
    machine.release_policy();
    machine.sign("release", "debian/13", &[]);
    fs::write(machine.path("tree/file"), "another content").unwrap();
    machine.ok("here", &["create", &machine.text("tree"), "--name=other"]);
    let (built, other) = (machine.digest("built"), machine.digest("other"));
    let signatures = machine.path("here/signatures");
    fs::rename(signatures.join(&built), signatures.join(&other)).unwrap();
    machine.refused("here", &["tag", "other", "debian/13"], &["debian/13", &built[..16]]);
    fs::rename(signatures.join(&other), signatures.join(&built)).unwrap();
    machine.ok("here", &["tag", "built", "debian/13"]);
    // A changed statement: its signature is one of other bytes.
    let file = machine.signatures("here", &built)[0].with_extension("statement");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("debian/13", "debian/14")).unwrap();
    machine.refused("here", &["tag", "built", "debian/14"], &["signed other bytes"]);
}

#[test]
fn signatures_are_files_of_the_image() {
    let Some(machine) = TrustingMachine::new("signatures_are_files_of_the_image") else { return };
    machine.sign("release", "debian/13", &[]);
    let digest = machine.digest("built");
    assert_eq!(machine.signatures("here", &digest).len(), 1);
    // ssh-keygen judges the same files.
    let signature = machine.signatures("here", &digest)[0].clone();
    fs::write(machine.path("allowed"), format!("release {}\n", machine.key("release"))).unwrap();
    let mut verify = Command::new("ssh-keygen");
    verify.args(["-Y", "verify", "-n", "composefs-image", "-I", "release", "-f"]).arg(machine.path("allowed"));
    verify.arg("-s").arg(&signature).stdin(File::open(signature.with_extension("statement")).unwrap());
    assert!(verify.status().unwrap().success());
    machine.ok("here", &["fsck"]);
    machine.ok("here", &["gc", "--grace=0"]);
    assert_eq!(machine.signatures("here", &digest).len(), 1);
    machine.ok("here", &["untag", "built"]);
    assert!(machine.ok("here", &["gc", "--grace=0"]).contains("signatures of 1 removed image removed"));
    assert!(!machine.path("here/signatures").join(&digest).exists());
    machine.refused("here", &["sign", "--add", "/dev/null", "/dev/null"], &["cannot open /dev/null"]);
    let tree = machine.text("tree/file");
    machine.refused("here", &["sign", "--add", &tree, &tree], &["is no statement"]);
}

#[test]
fn junk_beside_a_signature_changes_nothing() {
    let Some(machine) = TrustingMachine::new("junk_beside_a_signature_changes_nothing") else { return };
    machine.release_policy();
    machine.sign("release", "debian/13", &["--serial=7"]);
    let digest = machine.digest("built");
    let good = machine.signatures("here", &digest)[0].clone();
    let statement = fs::read_to_string(good.with_extension("statement")).unwrap();
    // Another statement beside the same signature, and more of them than a decision looks at.
    for number in 0..80 {
        fs::write(machine.path("junk"), statement.replace("debian/13", &format!("debian/junk{number}"))).unwrap();
        machine.ok("here", &["sign", "--add", &machine.text("junk"), good.to_str().unwrap()]);
    }
    for number in 0..20 {
        let junk = format!("-----BEGIN SSH SIGNATURE-----\n{number}\n");
        fs::write(machine.path("junk.sig"), junk).unwrap();
        let statement = good.with_extension("statement");
        machine.ok("here", &["sign", "--add", statement.to_str().unwrap(), &machine.text("junk.sig")]);
    }
    assert_eq!(machine.signatures("here", &digest).len(), 101);
    machine.ok("here", &["tag", "built", "debian/13"]);
    machine.refused("here", &["tag", "built", "debian/junk1"], &["refuses debian/junk1"]);
}

#[test]
fn fsck_reports_signatures_that_cannot_be_read() {
    let Some(machine) = TrustingMachine::new("fsck_reports_signatures_that_cannot_be_read") else { return };
    machine.sign("release", "debian/13", &[]);
    machine.ok("here", &["fsck"]);
    let statement = machine.signatures("here", &machine.digest("built"))[0].with_extension("statement");
    fs::remove_file(&statement).unwrap();
    let found = machine.run("here", &["fsck"]);
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(found.status.code() == Some(1) && text.contains(".statement is missing: remove"), "{text}");
    assert!(!text.contains("no problems"), "{text}");
    machine.ok("here", &["gc"]);
}
