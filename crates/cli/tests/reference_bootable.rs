//! Bootable images of directories: the digests of `digest --bootable` and `create --bootable` are those recorded in
//! `crates/selinux/tests/golden`, and those that cfsctl computes now.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use libcomposefs_testkit::privilege::is_root;
use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::{skip, stats};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../selinux/tests/golden")
}

fn run(name: &'static str, arguments: &[&dyn AsRef<OsStr>]) -> Outcome {
    let program = Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name };
    program.run(arguments.iter().map(|argument| argument.as_ref()), b"")
}

/// Makes the directory that a dump describes.
fn extract(dump: &Path, directory: &Path) {
    let image = directory.with_extension("img");
    drop(run("mkcomposefs", &[&"--from-file", &dump, &image]).ok());
    drop(run("composefs", &[&"extract", &"--unverified", &image, &directory]).ok());
}

struct Row {
    name: String,
    algorithm: String,
    version: String,
    xattrs: String,
    expected: String,
}

fn rows() -> Vec<Row> {
    let table = fs::read_to_string(golden().join("digests.tsv")).unwrap();
    let rows = table.lines().filter(|row| !row.starts_with('#')).map(|row| {
        let columns: Vec<String> = row.split('\t').map(str::to_owned).collect();
        let [name, algorithm, version, xattrs, expected, _] = columns.try_into().unwrap();
        Row { name, algorithm, version, xattrs, expected }
    });
    rows.collect()
}

fn ask_cfsctl(cfsctl: &Path, row: &Row, directory: &Path) -> Option<String> {
    let program = Program { path: cfsctl, name: "cfsctl" };
    let line = ["--no-repo", "--hash", &row.algorithm, "--erofs-version", &row.version, "compute-id", "--bootable"];
    let line = line.into_iter().chain(["--xattrs", &row.xattrs]).map(OsStr::new).chain([directory.as_os_str()]);
    let outcome = program.run(line, b"");
    (outcome.status == Some(0)).then(|| outcome.line().to_owned())
}

#[test]
fn directories_have_the_recorded_digests() {
    if !is_root() {
        return skip::announce("directories_have_the_recorded_digests", "needs root for owners and labels");
    }
    let scratch = tempfile::tempdir().unwrap();
    let cfsctl = std::env::var_os("COMPOSEFS_PEERS").map(|peers| PathBuf::from(peers).join("cfsctl"));
    let cfsctl = cfsctl.filter(|path| path.exists());
    let (mut made, mut asked, mut created) = (0, 0, 0);
    for row in rows() {
        let directory = scratch.path().join(&row.name);
        if !directory.exists() {
            extract(&golden().join(format!("{}.dump", row.name)), &directory);
        }
        let options = [
            format!("--algorithm={}", row.algorithm),
            format!("--version={}", row.version),
            format!("--xattrs={}", row.xattrs),
        ];
        let outcome = run("composefs", &[&"digest", &"--bootable", &options[0], &options[1], &options[2], &directory]);
        if row.expected == "ERROR" {
            assert_eq!(outcome.status, Some(1), "{}", row.name);
            continue;
        }
        let outcome = outcome.ok();
        let digest = outcome.line().split(' ').next().unwrap();
        assert_eq!(digest, row.expected, "{} {options:?}", row.name);
        made += 1;
        if let Some(cfsctl) = &cfsctl
            && row.algorithm == "sha512"
        {
            assert_eq!(ask_cfsctl(cfsctl, &row, &directory).as_deref(), Some(digest), "{}", row.name);
            asked += 1;
        }
        if row.version == "1" && row.algorithm == "sha256" && row.xattrs == "allowlist-only" {
            let repository = scratch.path().join(format!("{}.repo", row.name));
            drop(run("composefs", &[&"--repo", &repository, &"init", &"--insecure"]).ok());
            let line =
                run("composefs", &[&"--repo", &repository, &"create", &"--bootable", &directory, &"--name=os"]).ok();
            assert_eq!(line.line(), digest, "{}", row.name);
            created += 1;
        }
    }
    assert!(made >= 50 && created >= 20, "{made} {created}");
    stats::show(&format!("bootable: {made} digests of directories, {asked} asked again of cfsctl, {created} images"));
}
