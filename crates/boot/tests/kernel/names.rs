//! Boots by name: the newest image that the policy accepts, and each refusal beside a boot that is not refused.

use std::fs;
use std::os::unix::fs::symlink;

use libcomposefs_image::{Algorithm, Digest};

use crate::scene::{MOUNTED, Scene};
use crate::signer::{RULE, SignedStatement};
use crate::{Case, boot_by_name};

pub(crate) const CASES: &[Case] = &[
    Case { name: "the_newest_signed_image", needs: boot_by_name, run: the_newest_signed_image },
    Case { name: "a_repository_that_was_rolled_back", needs: boot_by_name, run: a_repository_that_was_rolled_back },
    Case { name: "floors_that_cannot_be_read", needs: boot_by_name, run: floors_that_cannot_be_read },
    Case { name: "a_revoked_key", needs: boot_by_name, run: a_revoked_key },
    Case { name: "an_expired_statement", needs: boot_by_name, run: an_expired_statement },
    Case { name: "a_clock_in_the_past", needs: boot_by_name, run: a_clock_in_the_past },
    Case { name: "damaged_images_are_passed_over", needs: boot_by_name, run: damaged_images_are_passed_over },
    Case { name: "policies_that_cannot_decide", needs: boot_by_name, run: policies_that_cannot_decide },
    Case { name: "files_that_are_no_signatures", needs: boot_by_name, run: files_that_are_no_signatures },
];

const NAME: &str = "composefs.name=debian/13";
const SHOW: &str = "cat $T/etc/base /run/composefs/nextroot.json";

/// A scene with the images 41 and 42 of `debian/13`, whose `/etc/base` has their number.
fn two_images(scene: &Scene) -> [Digest; 2] {
    scene.policy("", "", RULE);
    [41, 42].map(|serial: u64| {
        let digest = scene.add_image(Algorithm::Sha256, &serial.to_string());
        scene.sign_as(&digest, serial, "");
        digest
    })
}

#[track_caller]
fn boots(scene: &Scene, serial: u64) -> String {
    let ran = scene.boot_name(NAME, SHOW).ok();
    assert!(ran.stdout.starts_with(&serial.to_string()), "{ran:#?}");
    ran.stderr
}

fn the_newest_signed_image(scene: &Scene) {
    let [old, new] = two_images(scene);
    assert!(boots(scene, 42).contains("debian/13: serial number 42, signed by release"));
    let signed = "\"signed\":{\"name\":\"debian/13\",\"rule\":\"debian/*\",\"serial\":42,\"keys\":[\"release\"]}}";
    let ran = scene.boot_name(NAME, SHOW).ok().prints(signed);
    ran.prints("\"word\":\"composefs.name=debian/13\"").prints(&format!("composefs:{}", new.to_hex()));
    // Newer ones that do not count: by another key, for another name, about another image, not in the repository.
    let evil = scene.add_image(Algorithm::Sha256, "43");
    for (name, key, digest) in [("debian/13", 9, evil), ("debian/14", 1, evil), ("debian/13", 1, old)] {
        let signed = SignedStatement { digest, name, serial: 43, more: "", key };
        if digest == old {
            let moved = SignedStatement { digest: new, ..signed };
            scene.sign(&moved);
            let from = scene.path("disk/composefs/signatures");
            for file in ["0000000000000002.statement", "0000000000000002.ssh"] {
                fs::rename(from.join(new.to_hex()).join(file), from.join(old.to_hex()).join(file)).unwrap();
            }
        } else {
            scene.sign(&signed);
        }
        boots(scene, 42);
    }
    scene.sign_as(&Digest::from_hex("ab".repeat(32)).unwrap(), 44, "");
    boots(scene, 42);
    scene.sign_as(&evil, 43, "");
    boots(scene, 43);
    // A digest takes precedence.
    let ran = scene.boot_name(&format!("{NAME} composefs={}", old.to_hex()), SHOW).ok().prints("41");
    assert!(ran.stderr.contains("composefs.name=debian/13 beside a digest") && !ran.stdout.contains("signed"));
}

fn a_repository_that_was_rolled_back(scene: &Scene) {
    let [old, new] = two_images(scene);
    scene.floors("{\"debian/*\": 42}");
    boots(scene, 42);
    fs::remove_file(scene.path("disk/composefs/images").join(new.to_hex())).unwrap();
    let ran = scene.boot_name(NAME, MOUNTED);
    ran.refused(&["debian/13: serial number 41 is below 42", "Install a newer image", &old.to_hex()]);
    // The floor of another rule does not count.
    scene.floors("{\"debian/13\": 42, \"debian/*\": 41}");
    boots(scene, 41);
    scene.policy("", "", &format!("{RULE}min_serial = 42\n"));
    scene.boot_name(NAME, MOUNTED).refused(&["serial number 41 is below 42, which the rule demands"]);
}

fn floors_that_cannot_be_read(scene: &Scene) {
    two_images(scene);
    let file = scene.path("disk/state/serials.json");
    for text in ["", "{\"debian/*\": -1}", "[]"] {
        scene.floors(text);
        scene.boot_name(NAME, MOUNTED).refused(&["state/serials.json of the disk cannot be used"]);
    }
    fs::remove_file(&file).unwrap();
    symlink("elsewhere.json", &file).unwrap();
    scene.boot_name(NAME, MOUNTED).refused(&["state/serials.json of the disk cannot be used"]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    scene.boot_name(NAME, MOUNTED).refused(&["state/serials.json of the disk cannot be used"]);
    scene.floors("{}");
    boots(scene, 42);
}

fn a_revoked_key(scene: &Scene) {
    let [_, new] = two_images(scene);
    scene.policy("", "revoked = \"2026-10-01: laptop stolen\"", RULE);
    scene.boot_name(NAME, MOUNTED).refused(&["\"release\" is revoked: 2026-10-01: laptop stolen"]);
    let both = RULE.replace("\"release\"", "\"release\", \"audit\"");
    scene.policy("", "revoked = \"2026-10-01: laptop stolen\"", &both);
    scene.sign(&SignedStatement { digest: new, name: "debian/13", serial: 42, more: "", key: 2 });
    assert!(boots(scene, 42).contains("signed by audit"));
}

fn an_expired_statement(scene: &Scene) {
    scene.policy("", "", RULE);
    let image = scene.add_image(Algorithm::Sha256, "42");
    scene.sign_as(&image, 42, ",\"expires\":\"2020-01-01T00:00:00Z\"");
    // A machine without network must not stop at a date, unless the policy says so.
    assert!(boots(scene, 42).contains("has expired: install a newer image"));
    scene.policy("enforce_expiry = \"mount\"", "", RULE);
    scene.boot_name(NAME, MOUNTED).refused(&["the statement expired at 2020-01-01", "Check the clock"]);
    scene.sign_as(&image, 42, ",\"expires\":\"2120-01-01T00:00:00Z\"");
    assert!(!boots(scene, 42).contains("expired"));
}

/// The clock is not before the time at which the policy was made.
fn a_clock_in_the_past(scene: &Scene) {
    scene.policy("enforce_expiry = \"mount\"", "", RULE);
    let image = scene.add_image(Algorithm::Sha256, "42");
    scene.sign_as(&image, 42, ",\"issued\":\"2109-01-01T00:00:00Z\",\"expires\":\"2110-01-01T00:00:00Z\"");
    boots(scene, 42);
    scene.policy_of(4_500_000_000);
    scene.boot_name(NAME, MOUNTED).refused(&["the statement expired at 2110-01-01"]);
    // A statement from the future of the clock has no age.
    let aged = format!("{RULE}max_age = \"90d\"\n");
    scene.policy("enforce_expiry = \"mount\"", "", &aged);
    scene.boot_name(NAME, MOUNTED).refused(&["issued in the future of this clock"]);
    scene.policy("", "", &aged);
    boots(scene, 42);
}

fn damaged_images_are_passed_over(scene: &Scene) {
    let [old, new] = two_images(scene);
    let bytes = fs::read(scene.object(&new)).unwrap();
    scene.replace(&new, &bytes);
    assert!(boots(scene, 41).contains("serial number 42 is not booted: the image has no fs-verity"));
    // Not below the floor.
    scene.floors("{\"debian/*\": 42}");
    scene.boot_name(NAME, MOUNTED).refused(&["the image has no fs-verity", &new.to_hex()]);
    scene.floors("{}");
    scene.replace(&old, &bytes);
    scene.boot_name(NAME, MOUNTED).refused(&["the image has no fs-verity", &new.to_hex()]);
    scene.seal_object(&new);
    boots(scene, 42);
}

fn policies_that_cannot_decide(scene: &Scene) {
    two_images(scene);
    for (rule, text) in [
        ("", "no rule with keys for this name"),
        ("[[rule]]\nname = \"debian/*\"\naccept = true\n", "no rule with keys for this name"),
        ("[[rule]]\nname = \"debian/*\"\nreject = true\n", "no rule with keys for this name"),
        ("[[rule]]\nname = \"debian/*\"\nkeys = [\"other\"]\n", "it names the key \"other\""),
        ("unknown = 1", "it is not a policy"),
    ] {
        scene.policy("default = \"accept\"", "", rule);
        scene.boot_name(NAME, MOUNTED).refused(&[text, "make the initramfs again"]);
    }
    scene.policy("", "", &format!("{RULE}threshold = 1\n"));
    boots(scene, 42);
    // A certificate signs digests, which have no serial numbers: it is no key here, and harms none.
    let certificate = "[key.kernel]\npkcs7 = \"a certificate\"\n";
    scene.policy("", "", &format!("{certificate}{RULE}"));
    boots(scene, 42);
    scene.policy("", "", &format!("{certificate}{}", RULE.replace("release", "kernel")));
    scene.boot_name(NAME, MOUNTED).refused(&["0 of 1 signature that the rule debian/* asks for"]);
    scene.policy("", "", RULE);
    scene.boot_name("composefs.name=ubuntu/24", MOUNTED).refused(&["no rule with keys for this name"]);
    scene.boot_name("composefs.name=debian/12", MOUNTED).refused(&["is for the name debian/13, not for"]);
    fs::remove_file(scene.path("policy.toml")).unwrap();
    scene.boot_name(NAME, MOUNTED).refused(&["policy.toml: No such file or directory"]);
}

fn files_that_are_no_signatures(scene: &Scene) {
    let [_, new] = two_images(scene);
    let signatures = scene.path("disk/composefs/signatures");
    let directory = signatures.join(new.to_hex());
    fs::write(directory.join("f.ssh"), vec![b'x'; 70_000]).unwrap();
    fs::write(directory.join("f.statement"), vec![b'x'; 70_000]).unwrap();
    symlink("/dev/zero", directory.join("g.ssh")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        directory.join("h.ssh"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for number in 0..100 {
        fs::write(directory.join(format!("{number}.ssh")), "-----BEGIN SSH SIGNATURE-----\n").unwrap();
        fs::write(directory.join(format!("{number}.statement")), format!("{number}")).unwrap();
    }
    fs::create_dir(signatures.join("AB".repeat(32))).unwrap();
    boots(scene, 42);
    fs::remove_dir_all(&signatures).unwrap();
    scene.boot_name(NAME, MOUNTED).refused(&["debian/13: no image of the repository is signed"]);
    symlink("elsewhere", &signatures).unwrap();
    scene.boot_name(NAME, MOUNTED).refused(&["the signatures of the repository cannot be read"]);
}
