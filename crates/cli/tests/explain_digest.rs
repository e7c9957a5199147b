//! `composefs explain-digest`: finds and explains every digest that any tool produces for a tree, reading the tree
//! once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use libcomposefs_testkit::privilege::is_root;
use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::{skip, stats};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lsetxattr, mknodat, utimensat};

fn program(name: &'static str) -> Program<'static> {
    Program { path: Path::new(env!("CARGO_BIN_EXE_composefs")), name }
}

fn explain(arguments: &[&OsStr]) -> Outcome {
    program("composefs").run([OsStr::new("explain-digest")].iter().chain(arguments), b"")
}

fn set_time(path: &Path, tv_sec: i64) {
    let time = Timespec { tv_sec, tv_nsec: 250_000_000 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Creates a tree on which every choice of a policy makes a difference.
fn make_tree(root: &Path) {
    let directories = ["", "usr", "usr/bin", "run", "run/lock", "boot", "sysroot", "dev"];
    for directory in directories {
        fs::create_dir(root.join(directory)).unwrap();
        // The root and /usr differ in this too, even without times and xattrs.
        let mode = if directory.is_empty() { 0o750 } else { 0o755 };
        fs::set_permissions(root.join(directory), fs::Permissions::from_mode(mode)).unwrap();
    }
    for (n, (path, len)) in [
        ("empty", 0),
        ("small", 1),
        ("usr/bin/inline", 64),
        ("usr/bin/object", 65),
        ("usr/large", 300_000),
        ("boot/kernel", 70_000),
        ("run/lock/pid", 5),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(root.join(path), vec![n as u8; len]).unwrap();
        set_time(&root.join(path), 1_600_000_000 + n as i64);
    }
    fs::hard_link(root.join("usr/large"), root.join("a-link")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    set_time(&root.join("bin"), 1_600_000_100);
    mknodat(
        CWD,
        root.join("dev/null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    set_time(&root.join("dev/null"), 1_600_000_101);
    mknodat(CWD, root.join("usr/whiteout"), FileType::CharacterDevice, Mode::from_raw_mode(0o644), 0).unwrap();
    set_time(&root.join("usr/whiteout"), 1_600_000_102);
    const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    for (path, name, value) in [
        ("usr/bin/object", "security.capability", CAPABILITY),
        ("usr/bin/object", "user.own", b"1"),
        ("usr", "security.selinux", b"usr_t"),
        ("usr", "user.of-usr", b"x"),
        ("boot", "trusted.label", b"y"),
    ] {
        lsetxattr(root.join(path), name, value, XattrFlags::empty()).unwrap();
    }
    for (n, directory) in directories.iter().enumerate().rev() {
        set_time(&root.join(directory), 1_500_000_000 + n as i64);
    }
}

/// Creates the tree, if the process has the privileges for it.
fn tree(name: &str, dir: &Path) -> Option<PathBuf> {
    if !is_root() {
        skip::announce(name, "devices and trusted attributes are root's");
        return None;
    }
    let tree = dir.join("tree");
    make_tree(&tree);
    Some(tree)
}

/// Returns every policy with its digest, in the order of the search.
fn list(source: &Path, more: &[&str]) -> Vec<(String, String)> {
    let arguments: Vec<_> =
        [OsStr::new("--list"), source.as_os_str()].into_iter().chain(more.iter().map(OsStr::new)).collect();
    let out = explain(&arguments).ok();
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(digest, policy)| (policy.into(), digest.into()))
        .collect()
}

/// Returns the command lines that are printed for a digest, by program.
fn commands(source: &Path, digest: &str, more: &[&str]) -> BTreeMap<String, String> {
    let want = format!("--want={digest}");
    let arguments = [OsStr::new("--json"), OsStr::new(&want), source.as_os_str()];
    let arguments: Vec<_> = arguments.into_iter().chain(more.iter().map(OsStr::new)).collect();
    let out = explain(&arguments).ok();
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let commands = json["found"][0]["commands"].as_array().unwrap();
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    commands.iter().map(|c| (word(&c["tool"]).split([' ', ',']).next().unwrap().to_owned(), word(&c["line"]))).collect()
}

/// Runs a command line of a program.
fn run_line(program: &Program<'_>, line: &str) -> String {
    let words = line.split(' ').skip(1).map(|word| word.trim_matches('\''));
    program.run(words, b"").ok().line().split(' ').next().unwrap().to_owned()
}

/// Returns every combination of options of `mkcomposefs` that affects the tree.
fn mkcomposefs_options() -> Vec<Vec<&'static str>> {
    let mut all = vec![vec![]];
    for choices in [
        &["--min-version=0", "--min-version=1", ""][..],
        &["", "--algorithm=sha512"],
        &["", "--user-xattrs", "--skip-xattrs"],
        &["", "--use-epoch", "--source-date-epoch=1600000002"],
        &["", "--hardlinks"],
        &["", "--inline-max=0"],
        &["", "--skip-devices"],
    ] {
        all = all.iter().flat_map(|line| choices.iter().map(|choice| [&line[..], &[*choice]].concat())).collect();
    }
    all.iter_mut().for_each(|line| line.retain(|option| !option.is_empty()));
    all
}

/// Returns true if the C tool lacks an option.
fn is_ours(option: &str) -> bool {
    ["--algorithm", "--source-date-epoch", "--hardlinks", "--inline-max"].iter().any(|ours| option.starts_with(ours))
}

/// Returns a program for comparison, if it is installed.
fn peer(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("COMPOSEFS_PEERS").map(|peers| PathBuf::from(peers).join(name));
    path.filter(|path| path.exists())
}

const EPOCH: &str = "--source-date-epoch=1600000002";

#[test]
fn digests_of_mkcomposefs_are_found_and_reproduced() {
    let dir = tempfile::tempdir().unwrap();
    let Some(tree) = tree("digests_of_mkcomposefs_are_found_and_reproduced", dir.path()) else { return };
    let known: BTreeMap<_, _> = list(&tree, &[EPOCH]).into_iter().map(|(policy, digest)| (digest, policy)).collect();
    let (all, mut asked) = (mkcomposefs_options(), 0);
    for (n, options) in all.iter().enumerate() {
        let line = ["--print-digest-only"].iter().chain(options).map(OsStr::new).chain([tree.as_os_str()]);
        let digest = program("mkcomposefs").run(line, b"").ok().line().to_owned();
        assert!(known.contains_key(&digest), "{options:?}");
        // Searching for each of them would take a minute.
        if n % 23 == 0 || !options.iter().any(|option| is_ours(option)) {
            let commands = commands(&tree, &digest, &[EPOCH]);
            assert_eq!(run_line(&program("mkcomposefs"), &commands["mkcomposefs"]), digest, "{options:?}");
            if let Some(path) = peer("mkcomposefs").filter(|_| !options.iter().any(|option| is_ours(option))) {
                let theirs = Program { path: &path, name: "mkcomposefs" };
                assert_eq!(run_line(&theirs, &commands["mkcomposefs"]), digest, "{options:?}");
                asked += 1;
            }
            assert_eq!(run_line(&program("composefs"), &commands["this"]), digest, "{options:?}");
        }
    }
    assert_eq!(all.len(), 3 * 144);
    stats::show(&format!("explained: {} digests of mkcomposefs, {asked} of them made again by the C tool", all.len()));
}

#[test]
fn each_policy_is_found_by_its_own_digest() {
    let dir = tempfile::tempdir().unwrap();
    let Some(tree) = tree("each_policy_is_found_by_its_own_digest", dir.path()) else { return };
    let all = list(&tree, &[EPOCH, "--thorough"]);
    let digests: BTreeMap<_, _> = all.iter().map(|(policy, digest)| (digest.as_str(), policy.as_str())).collect();
    assert_eq!((digests.len(), all.len()), (6000, 6000));
    let usual = list(&tree, &[EPOCH]);
    assert!(usual.iter().all(|(policy, digest)| digests[digest.as_str()] == policy));
    let want = format!("--want={}", usual[0].1);
    let out = explain(&[OsStr::new("--json"), OsStr::new(&want), tree.as_os_str()]).ok();
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(json["tried"].as_u64() < json["policies"].as_u64(), "the first one ends the search: {json}");
    for (policy, digest) in all.iter().step_by(1999) {
        let commands = commands(&tree, digest, &[EPOCH, "--thorough"]);
        assert!(commands["this"].contains(policy.as_str()), "{policy}: {commands:?}");
        assert_eq!(run_line(&program("composefs"), &commands["this"]), *digest);
    }
}

/// Arguments of cfsctl, other than algorithm and version.
const CFSCTL: [&str; 6] = [
    "",
    "--xattrs=keep-user-xattrs",
    "--bootable",
    "--bootable --xattrs=keep-user-xattrs",
    "--no-propagate-usr-to-root",
    "--bootable --no-propagate-usr-to-root",
];

#[test]
fn digests_of_cfsctl_are_found_and_reproduced() {
    let Some(cfsctl) = peer("cfsctl") else {
        return stats::show("cfsctl 0.9.4 is not there: no digest of it is explained");
    };
    let cfsctl = Program { path: &cfsctl, name: "cfsctl" };
    let dir = tempfile::tempdir().unwrap();
    let Some(tree) = tree("digests_of_cfsctl_are_found_and_reproduced", dir.path()) else { return };
    let mut asked = 0;
    for (algorithm, version) in ["sha256", "sha512"].into_iter().flat_map(|a| ["0", "1", "2"].map(|v| (a, v))) {
        for options in CFSCTL {
            let line = ["--no-repo", "--hash", algorithm, "--erofs-version", version, "compute-id"];
            let options = options.split(' ').filter(|option| !option.is_empty());
            let line = line.into_iter().chain(options.clone()).map(OsStr::new).chain([tree.as_os_str()]);
            let digest = cfsctl.run(line, b"").ok().line().to_owned();
            let commands = commands(&tree, &digest, &[]);
            assert_eq!(run_line(&cfsctl, &commands["cfsctl"]), digest, "{algorithm} {version} {commands:?}");
            asked += 1;
        }
    }
    stats::show(&format!("explained: {asked} digests of cfsctl 0.9.4"));
}

/// Returns how often each file was opened during an action.
fn opens(root: &Path, done: impl FnOnce()) -> BTreeMap<String, usize> {
    let queue: OwnedFd = inotify::init(CreateFlags::NONBLOCK).unwrap();
    let mut directories = vec![root.to_owned()];
    let mut names = BTreeMap::new();
    while let Some(directory) = directories.pop() {
        let watched = WatchFlags::OPEN | WatchFlags::CLOSE_NOWRITE;
        names.insert(inotify::add_watch(&queue, &directory, watched).unwrap(), directory.clone());
        let entries = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap());
        directories.extend(entries.filter(|e| e.file_type().unwrap().is_dir()).map(|e| e.path()));
    }
    // Discard earlier events.
    let mut buffer = [MaybeUninit::uninit(); 1 << 16];
    let mut reader = Reader::new(&queue, &mut buffer);
    while reader.next().is_ok() {}
    done();
    let mut opens = BTreeMap::new();
    while let Ok(event) = reader.next() {
        assert!(!event.events().contains(ReadFlags::QUEUE_OVERFLOW));
        if event.events().contains(ReadFlags::OPEN) && !event.events().contains(ReadFlags::ISDIR) {
            let name = event.file_name().unwrap().to_str().unwrap();
            *opens
                .entry(names[&event.wd()].join(name).strip_prefix(root).unwrap().display().to_string())
                .or_default() += 1;
        }
    }
    opens
}

#[test]
fn the_requested_policy_determines_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    [65, 500, 501].iter().for_each(|len| fs::write(dir.path().join(len.to_string()), vec![1; *len]).unwrap());
    let digest = |line: [&str; 2]| {
        let program = program(if line[0].starts_with("--print") { "mkcomposefs" } else { "composefs" });
        let out = program.run(line.iter().map(OsStr::new).chain([dir.path().as_os_str()]), b"").ok();
        out.line().split(' ').next().unwrap().to_owned()
    };
    let limited = digest(["--print-digest-only", "--inline-max=500"]);
    assert_eq!(digest(["explain-digest", "--policy=inline=500"]), limited);
    let want = format!("--want={limited}");
    let out = explain(&[OsStr::new(&want), OsStr::new("--inline-max=500"), dir.path().as_os_str()]).ok();
    assert!(out.line().contains("mkcomposefs --print-digest-only --inline-max=500"), "{}", out.line());
    assert_eq!(explain(&[OsStr::new(&want), dir.path().as_os_str()]).status, Some(1));
}

#[test]
fn each_content_is_read_once_for_all_policies() {
    let dir = tempfile::tempdir().unwrap();
    let Some(tree) = tree("each_content_is_read_once_for_all_policies", dir.path()) else { return };
    let mut policies = 0;
    let found = opens(&tree, || policies = list(&tree, &[EPOCH]).len());
    // Either name of the file with two hard links.
    let linked = usize::from(found.contains_key("a-link")) + usize::from(found.contains_key("usr/large"));
    assert_eq!(linked, 1, "{found:?}");
    for name in ["small", "usr/bin/inline", "usr/bin/object", "boot/kernel", "run/lock/pid"] {
        assert_eq!(found.get(name), Some(&1), "{name}: {found:?}");
    }
    assert!(found.values().all(|&opens| opens == 1) && found.len() <= 7, "{found:?}");
    stats::show(&format!("{policies} policies of one tree from {} opened files, each once", found.len()));
}

#[test]
fn the_nearest_policy_is_reported_if_none_matches() {
    let dir = tempfile::tempdir().unwrap();
    let Some(tree) = tree("the_nearest_policy_is_reported_if_none_matches", dir.path()) else { return };
    let image = dir.path().join("wanted.img");
    let options = ["--use-epoch", "--skip-devices", "--min-version=1"].map(OsStr::new);
    let _ = program("mkcomposefs").run(options.iter().copied().chain([tree.as_os_str(), image.as_os_str()]), b"").ok();
    let dump = dir.path().join("wanted.dump");
    fs::write(&dump, program("composefs-info").run([Path::new("dump"), &image], b"").ok().stdout).unwrap();
    for against in [&image, &dump] {
        let out = explain(&[OsStr::new("--against"), against.as_os_str(), tree.as_os_str()]).ok();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(text.contains("--use-epoch --skip-devices"), "{text}");
    }
    fs::write(tree.join("small"), "2").unwrap();
    fs::set_permissions(tree.join("usr/bin"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(tree.join("bin")).unwrap();
    for against in [&image, &dump] {
        let out = explain(&[OsStr::new("--json"), OsStr::new("--against"), against.as_os_str(), tree.as_os_str()]);
        assert_eq!(out.status, Some(1), "{}", out.stderr);
        let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
        let nearest = &json["nearest"];
        let policy = nearest["policy"].as_str().unwrap();
        assert!(policy.contains("times=zero") && policy.contains("devices=no"), "{policy}");
        let changes: Vec<_> =
            nearest["changes"].as_array().unwrap().iter().map(|c| c["path"].as_str().unwrap()).collect();
        assert_eq!(changes, ["/bin", "/small", "/usr/bin"], "{json}");
        assert_eq!(nearest["fields"]["mode"], 1);
    }
}

#[test]
fn invalid_input_has_status_and_message() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let tree = dir.path().as_os_str();
    let other = format!("--want={}", "0".repeat(64));
    for (arguments, status, words) in [
        (vec![OsStr::new("--list"), tree], 0, ""),
        (vec![OsStr::new(&other), tree], 1, "use --against=FILE"),
        (vec![tree], 2, "required"),
        (vec![OsStr::new("--want=abc"), tree], 2, "64 (SHA-256) or 128 (SHA-512)"),
        (vec![OsStr::new("--policy=times=never"), tree], 2, "zero-directories"),
        (vec![OsStr::new("--inline-max=5001"), OsStr::new("--list"), tree], 2, "5000"),
        (vec![OsStr::new("--against"), tree, tree], 2, "composefs diff"),
        (vec![OsStr::new("--list"), OsStr::new("/none")], 2, "/none"),
    ] {
        let out = explain(&arguments);
        assert_eq!(out.status, Some(status), "{arguments:?}: {}", out.stderr);
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &out.stderr;
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn source_date_epoch_is_tried_as_a_time() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "x").unwrap();
    let run = |epoch: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_composefs"));
        command.args(["explain-digest", "--list"]).arg(dir.path()).env("SOURCE_DATE_EPOCH", epoch).output().unwrap()
    };
    assert!(String::from_utf8(run("1000").stdout).unwrap().contains("times=clamp:1000"));
    let out = run("soon");
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8(out.stderr).unwrap().contains("SOURCE_DATE_EPOCH is soon"));
}
