//! Pulls beside other processes: the same pull, `cfsctl oci pull` in the same repository, and `podman pull` into the
//! store that is read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use libcomposefs_oci::BlobDigest;
use libcomposefs_testkit::slow_link::{LinkSpeed, SlowLink};
use libcomposefs_testkit::{privilege, skip};

use super::real::{Registry, Setup, has_programs};
use super::writer::{self, WrittenFile, WrittenLayer};
use super::{COMPOSEFS, Place, noise, push, write_layout};

/// A layer of files that are not small.
fn layer(first: u64, count: u64, size: usize) -> WrittenLayer {
    let file = |number: u64| (format!("usr/{number}"), vec![noise(first + number, size)]);
    writer::write(&(0..count).map(file).collect::<Vec<WrittenFile>>())
}

/// A layer of twelve files, with the entry of their directory, which cfsctl needs.
fn unchunked_layer(place: &Place, first: u64) -> WrittenLayer {
    let tree = place.dir.path().join(format!("tree-{first}"));
    fs::create_dir_all(tree.join("usr")).unwrap();
    for number in first..first + 12 {
        fs::write(tree.join("usr").join(number.to_string()), noise(number, 300_000)).unwrap();
    }
    let archive = Command::new("tar").arg("-C").arg(tree).args(["-cf", "-", "usr"]).output().unwrap().stdout;
    let blob = zstd::stream::encode_all(&archive[..], 1).unwrap();
    WrittenLayer { blob, diff_id: BlobDigest::of(&archive), annotations: Default::default(), archive }
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn start_pull(place: &Place, source: &str, name: &str) -> Child {
    let mut pull = Command::new(COMPOSEFS);
    pull.arg("--repo").arg(place.repo()).args(["oci", "pull", source, "--name", name, "--tls-verify=false"]);
    spawn(&mut pull)
}

fn expect_success(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the names of what is in the cache of the repository, and of the leases that are left.
fn left_over(place: &Place) -> Vec<String> {
    let names = |dir: &str| fs::read_dir(place.repo().join(dir)).into_iter().flatten();
    let names = names("cache").chain(names("leases")).map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| !["contents", "gc.lock"].contains(&name.as_str())).collect()
}

#[test]
fn two_pulls_of_one_image_at_once_succeed() {
    let test = "two_pulls_of_one_image_at_once_succeed";
    if !has_programs(test, &["skopeo"]) {
        return;
    }
    let Some(registry) = Registry::start(test, &Setup::default()) else { return };
    // The received part of a blob of this size is in a file, which one process has locked.
    push(&registry, &layer(1, 33, 1 << 20), "large");
    let link = SlowLink::start(registry.port, LinkSpeed::new(Duration::ZERO, Some(60_000_000)));
    let source = format!("docker://127.0.0.1:{}/image:large", link.port);
    let place = Place::new();
    let mut first = start_pull(&place, &source, "first");
    let second = start_pull(&place, &source, "second");
    assert_eq!(first.try_wait().unwrap(), None, "the first pull ended before the second began");
    let image = |text: String| text.lines().find(|line| line.starts_with("image")).unwrap().to_owned();
    assert_eq!(image(expect_success(first)), image(expect_success(second)));
    assert_eq!(place.ours(&["oci", "images", "-q"]).ok().line(), "first\nsecond");
    for command in [&["oci", "verify", "first"][..], &["fsck"], &["gc", "--grace=0"], &["oci", "verify", "second"]] {
        let outcome = place.ours(command);
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    }
    assert_eq!(left_over(&place), Vec::<String>::new());
    // The third finds the layer.
    assert!(expect_success(start_pull(&place, &source, "third")).contains("1 of them were here"));
}

#[test]
fn a_pull_beside_cfsctl_in_one_repository_succeeds() {
    let test = "a_pull_beside_cfsctl_in_one_repository_succeeds";
    let peers = std::env::var_os("COMPOSEFS_PEERS").map(|peers| Path::new(&peers).join("cfsctl"));
    let Some(cfsctl) = peers.filter(|path| path.exists()) else {
        return skip::announce(test, "cfsctl 0.9.4 is not there: COMPOSEFS_PEERS=$(cargo xtask peers --rust)");
    };
    if !has_programs(test, &["skopeo"]) {
        return;
    }
    let place = Place::new();
    let theirs = |arguments: &[&str]| {
        let mut command = Command::new(&cfsctl);
        command.args(["--insecure", "--repo"]).arg(place.repo()).args(arguments);
        command
    };
    for round in 0..4 {
        let layout = place.dir.path().join(round.to_string());
        write_layout(&layout, &unchunked_layer(&place, 1 + round * 8), "one");
        let source = format!("oci:{}:one", layout.display());
        let (ours, other) = (format!("ours-{round}"), format!("theirs-{round}"));
        let (ours, other) = if round % 2 == 0 {
            let child = start_pull(&place, &source, &ours);
            (child, spawn(&mut theirs(&["oci", "pull", &source, &other])))
        } else {
            let child = spawn(&mut theirs(&["oci", "pull", &source, &other]));
            (start_pull(&place, &source, &ours), child)
        };
        expect_success(ours);
        expect_success(other);
    }
    let checked = expect_success(spawn(&mut theirs(&["oci", "fsck"])));
    assert!(checked.contains("status: ok"), "{checked}");
    assert_eq!(place.ours(&["gc", "--grace=0"]).status, Some(0));
    expect_success(spawn(&mut theirs(&["gc"])));
    assert_eq!(place.ours(&["fsck"]).status, Some(0));
    let names = place.ours(&["oci", "images", "-q"]).ok();
    assert_eq!(names.line().lines().count(), 8, "{names:?}");
    for name in names.line().lines() {
        let verified = place.ours(&["oci", "verify", name]);
        assert_eq!(verified.status, Some(0), "{verified:?}");
    }
}

/// podman with a store of its own. Its mounts are in a namespace that ends with each command.
struct Podman {
    dir: PathBuf,
}

impl Podman {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "podman", "--root"]).arg(self.dir.join("store"));
        command.arg("--runroot").arg(self.dir.join("run")).args(["--storage-driver=overlay"]);
        command.args(["--cgroup-manager=cgroupfs", "--events-backend=none"]).args(arguments);
        command.env("CONTAINERS_STORAGE_CONF", self.dir.join("storage.conf"));
        command
    }

    fn pull(&self, port: u16, tag: &str) -> Child {
        let image = format!("docker://127.0.0.1:{port}/image:{tag}");
        spawn(&mut self.command(&["pull", "--quiet", "--tls-verify=false", &image]))
    }
}

#[test]
fn images_of_a_store_are_pulled_while_podman_pulls_into_it() {
    let test = "beside::images_of_a_store_are_pulled_while_podman_pulls_into_it";
    if !has_programs(test, &["skopeo", "podman", "unshare"]) {
        return;
    }
    if !privilege::is_root() {
        return skip::announce(test, "podman needs root for a store with overlay");
    }
    let Some(registry) = Registry::start(test, &Setup::default()) else { return };
    push(&registry, &layer(1, 3, 100_000), "here");
    push(&registry, &layer(100, 6, 500_000), "coming");
    let place = Place::new();
    let podman = Podman { dir: place.dir.path().to_owned() };
    let (root, run) = (podman.dir.join("store"), podman.dir.join("run"));
    let conf = format!("[storage]\ndriver = \"overlay\"\ngraphroot = {root:?}\nrunroot = {run:?}\n");
    fs::write(podman.dir.join("storage.conf"), conf).unwrap();
    let first = podman.pull(registry.port, "here").wait_with_output().unwrap();
    if !first.status.success() {
        let said = String::from_utf8_lossy(&first.stderr).into_owned();
        return skip::announce(test, &format!("podman cannot pull here: {said}"));
    }
    // Three megabytes, in two seconds.
    let link = SlowLink::start(registry.port, LinkSpeed::new(Duration::ZERO, Some(1_500_000)));
    let (store, repo) = (podman.dir.join("store"), registry.host());
    let source = |host: &str, tag: &str| format!("containers-storage:[{}]{host}/image:{tag}", store.display());
    let here = source(&repo, "here");
    let mut pulling = podman.pull(link.port, "coming");
    let mut beside = 0;
    while pulling.try_wait().unwrap().is_none() {
        // Into a new repository each time, so that the store is read.
        let other = place.dir.path().join(format!("repo-{beside}"));
        let run = |arguments: &[&str]| {
            let output = Command::new(COMPOSEFS).arg("--repo").arg(&other).args(arguments).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        run(&["init", "--insecure", "--format=1"]);
        run(&["oci", "pull", &here, "--name=image"]);
        beside += 1;
    }
    expect_success(pulling);
    assert!(beside > 0, "podman ended before the first pull from its store");
    let coming = source(&format!("127.0.0.1:{}", link.port), "coming");
    for (source, name) in [(&here, "here"), (&coming, "coming")] {
        let pulled = place.ours(&["oci", "pull", source, "--name", name]);
        assert_eq!(pulled.status, Some(0), "{pulled:?}");
        assert_eq!(place.ours(&["oci", "verify", name]).status, Some(0));
        let registry = format!("docker://{repo}/image:{name}");
        let differs = place.ours(&["oci", "diff", name, &registry, "--tls-verify=false"]);
        assert_eq!(differs.status, Some(0), "{differs:?}");
    }
}
