//! The repository of the user is in the home directory; without a home directory, commands fail unless --repo is given.

use std::fs;
use std::process::{Command, Output};

#[test]
fn a_home_that_is_not_absolute_is_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let run = |home: Option<&str>, line: &str| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_composefs"));
        command.args(line.split(' ')).current_dir(dir.path()).env_remove("HOME");
        command.envs(home.map(|home| ("HOME", home))).output().unwrap()
    };
    let home = dir.path().join("home");
    fs::create_dir(&home).unwrap();
    for wrong in [Some(""), Some("home"), Some("./home"), Some("rel\x1b"), None] {
        for line in ["--user init --insecure", "--user images", "--user gc", "--user fsck", "--user mounts"] {
            let output = run(wrong, line);
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(matches!(output.status.code(), Some(1 | 2)), "{wrong:?} {line}: {said}");
            assert!(
                said.contains("HOME") && said.contains("--repo=DIR") && !said.contains('\x1b'),
                "{wrong:?}: {said}"
            );
        }
    }
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["home"], "something was made in the current directory");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);

    let right = home.to_str().unwrap();
    assert!(run(Some(right), "--user init --insecure").status.success());
    assert!(run(Some(right), "--user images").status.success());
    assert!(home.join(".var/lib/composefs/meta.json").exists());
    assert!(
        run(Some(""), "--repo=home/.var/lib/composefs images").status.success(),
        "no home directory is needed with --repo"
    );
}
