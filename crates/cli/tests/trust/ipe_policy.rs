//! Policies of IPE have exactly the programs of an image. `cargo xtask e2e ipe` has the kernel enforce them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::TrustingMachine;

/// The beginning of an ELF file of this type, and more.
fn elf(kind: u8, content: &str) -> Vec<u8> {
    let mut bytes = [b"\x7fELF\x02\x01\x01", &[0; 9][..], &[kind, 0]].concat();
    bytes.extend(content.repeat(50).into_bytes());
    bytes
}

#[test]
fn a_policy_has_the_programs_of_an_image() {
    let Some(machine) = TrustingMachine::new("a_policy_has_the_programs_of_an_image") else { return };
    let write = |path: &str, content: &[u8], mode: u32| {
        let path = machine.path("app").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write("bin/program", &elf(2, "program"), 0o755);
    write("bin/same", &elf(2, "program"), 0o700);
    write("bin/script", "#!/bin/program\n".repeat(10).as_bytes(), 0o755);
    write("lib/library.so", &elf(3, "library"), 0o644);
    write("lib/module.ko", &elf(1, "module"), 0o644);
    write("share/text", "text".repeat(50).as_bytes(), 0o644);
    write("share/short", b"\x7fELF", 0o644);
    machine.ok("here", &["create", &machine.text("app"), "--name=app"]);
    let digest = |path: &str| {
        let stat = machine.json("here", &["stat", "app", path, "--json"]);
        stat[0]["digest"].as_str().unwrap().to_owned()
    };
    let policy = |more: &[&str]| machine.ok("here", &[&["ipe-policy", "app"], more].concat());
    let head = "policy_name=composefs policy_version=0.0.1\nDEFAULT action=ALLOW\nDEFAULT op=EXECUTE action=DENY\n\
                op=EXECUTE boot_verified=TRUE action=ALLOW\n";
    let of = |paths: &[&str]| {
        let mut digests: Vec<_> = paths.iter().map(|path| digest(path)).collect();
        digests.sort();
        let rule = |digest: &String| format!("op=EXECUTE fsverity_digest=sha256:{digest} action=ALLOW\n");
        format!("{head}{}", digests.iter().map(rule).collect::<String>())
    };
    assert_eq!(policy(&[]), of(&["/bin/program", "/bin/script", "/lib/library.so"]));
    assert_eq!(policy(&["--only=/lib"]), of(&["/lib/library.so"]));
    assert_eq!(policy(&["--only=bin/script", "--only=/lib/"]), of(&["/bin/script", "/lib/library.so"]));
    let other = policy(&["--policy-name=app", "--policy-version=1.2.3", "--only=/lib"]);
    assert!(other.starts_with("policy_name=app policy_version=1.2.3\n"), "{other}");
    machine.refused("here", &["ipe-policy", "app", "--only=/share"], &["has no programs at these paths"]);
    machine.refused("here", &["ipe-policy", "app", "--only=/lib", "--only=/none"], &["has no path /none"]);

    // A file that is in the image has no digest: the command says so.
    write("bin/short", b"#!/bin/program\n", 0o755);
    machine.ok("here", &["create", &machine.text("app"), "--name=app"]);
    let said = machine.run("here", &["ipe-policy", "app", "--json"]);
    assert!(said.status.success(), "{said:?}");
    assert!(String::from_utf8_lossy(&said.stderr).contains("no rule can allow /bin/short"), "{said:?}");
    let json: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((json["programs"].as_array().unwrap().len(), &json["without_digest"][0]), (3, &"/bin/short".into()));
}

#[test]
fn a_policy_fits_into_the_kernel() {
    let Some(machine) = TrustingMachine::new("a_policy_fits_into_the_kernel") else { return };
    for number in 0..700 {
        let directory = machine.path("app").join(if number < 500 { "some" } else { "more" });
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(number.to_string()), elf(2, &number.to_string())).unwrap();
    }
    machine.ok("here", &["create", &machine.text("app"), "--name=app"]);
    machine.refused("here", &["ipe-policy", "app"], &["has 700 programs", "63488 is the limit", "--only=PATH"]);
    let policy = machine.ok("here", &["ipe-policy", "app", "--only=/some"]);
    assert_eq!(policy.lines().count(), 504);
}
