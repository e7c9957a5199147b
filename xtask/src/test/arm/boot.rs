//! The program of an initramfs on 64-bit ARM: each refusal that needs no mount.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::artifacts;
use crate::test::report::Suite;

/// A refusal: its name, what is done to the disk, the command line, a text of the message. `HEX` is the image there.
struct ArmRefusal {
    name: &'static str,
    prepare: fn(&Path) -> Result<()>,
    line: &'static str,
    says: &'static str,
}

const HEX: &str = "abababababababababababababababababababababababababababababababab";
const LINK: &str = "composefs/images/abababababababababababababababababababababababababababababababab";
const OBJECT: &str = "composefs/objects/ab/ababababababababababababababababababababababababababababababab";

const REFUSED: &[ArmRefusal] = &[
    ArmRefusal { name: "no_word", prepare: nothing, line: "rw quiet", says: "no composefs= or composefs.digest=" },
    ArmRefusal {
        name: "no_digest",
        prepare: nothing,
        line: "composefs=abc",
        says: "composefs=abc: not a digest of 64 or 128",
    },
    ArmRefusal { name: "unknown_format", prepare: nothing, line: "composefs.digest=v3-x:00", says: "unknown format" },
    ArmRefusal { name: "no_repository", prepare: remove_repository, line: "composefs=HEX", says: "no repository at" },
    ArmRefusal {
        name: "no_image",
        prepare: |disk| Ok(fs::remove_file(disk.join(LINK))?),
        line: "composefs=HEX",
        says: "has no image that the command line names",
    },
    ArmRefusal { name: "no_link", prepare: other_link, line: "composefs=HEX", says: "is no link to an object" },
    ArmRefusal { name: "no_verity", prepare: nothing, line: "composefs=HEX", says: "fs-verity" },
    ArmRefusal { name: "another_image", prepare: other_object, line: "composefs=?HEX", says: "leads to another image" },
    ArmRefusal { name: "wrong_state", prepare: full_copy, line: "rw composefs=?HEX", says: "is a full copy" },
    // As far as it goes without a mount, and without openat2, which qemu-aarch64 7.2 does not have: the state is not
    // used, the object is no image.
    ArmRefusal {
        name: "no_image_file",
        prepare: nothing,
        line: "rw composefs=?HEX composefs.etc=none composefs.var=none",
        says: "is no composefs image",
    },
];

/// The refusal of the program that boots by name, on a machine without a policy.
const NO_POLICY: ArmRefusal = ArmRefusal {
    name: "no_policy",
    prepare: nothing,
    line: "rw composefs.name=os",
    says: "the policy /etc/composefs/policy.toml: No such file",
};

pub(super) fn suite(target: &str) -> Suite {
    let mut suite =
        Suite { kind: "arm".into(), name: artifacts::BOOT_PROGRAM.into(), finished: true, ..Suite::default() };
    let artifacts::BootPrograms { plain, by_name } = match artifacts::static_boot_programs(target) {
        Ok(programs) => programs,
        Err(error) => return Suite::broken("arm", artifacts::BOOT_PROGRAM, format!("{error:#}")),
    };
    let cases = REFUSED.iter().map(|case| (case.name.to_owned(), &plain, case));
    let named = REFUSED.iter().chain([&NO_POLICY]).map(|case| (format!("by_name_{}", case.name), &by_name, case));
    for (name, program, case) in cases.chain(named) {
        match refused(program, case) {
            Ok(()) => {
                suite.passed += 1;
                suite.passes.push(name);
            }
            Err(error) => {
                suite.failed += 1;
                suite.failures.push(format!("{name}: {error:#}"));
            }
        }
    }
    suite
}

fn refused(program: &Path, case: &ArmRefusal) -> Result<()> {
    let disk = tempfile::tempdir()?;
    for directory in ["composefs/images", "composefs/objects/ab"] {
        fs::create_dir_all(disk.path().join(directory))?;
    }
    fs::write(disk.path().join(OBJECT), vec![0; 8192])?;
    symlink(format!("../{}", OBJECT.trim_start_matches("composefs/")), disk.path().join(LINK))?;
    (case.prepare)(disk.path())?;
    let mut qemu = Command::new("qemu-aarch64");
    qemu.arg(program).arg("--sysroot").arg(disk.path()).args(["--config=", "--target=/nonexistent"]);
    let output = qemu.arg(format!("--cmdline={}", case.line.replace("HEX", HEX))).output().context("qemu-aarch64")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    ensure!(said.contains("BOOT REFUSED") && said.contains(case.says), "it says: {said}");
    Ok(())
}

fn nothing(_: &Path) -> Result<()> {
    Ok(())
}

fn remove_repository(disk: &Path) -> Result<()> {
    Ok(fs::remove_dir_all(disk.join("composefs"))?)
}

fn other_link(disk: &Path) -> Result<()> {
    fs::remove_file(disk.join(LINK))?;
    Ok(symlink("/etc/passwd", disk.join(LINK))?)
}

fn other_object(disk: &Path) -> Result<()> {
    let other = OBJECT.replace("/ab/ab", "/ab/cd");
    fs::rename(disk.join(OBJECT), disk.join(&other))?;
    fs::remove_file(disk.join(LINK))?;
    Ok(symlink(format!("../{}", other.trim_start_matches("composefs/")), disk.join(LINK))?)
}

fn full_copy(disk: &Path) -> Result<()> {
    let etc = disk.join("state/deploy").join(HEX).join("etc");
    fs::create_dir_all(&etc)?;
    Ok(fs::write(etc.join("passwd"), "")?)
}
