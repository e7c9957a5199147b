//! A pull that was killed continues within a layer when it is run again.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::real::{Registry, Setup, has_programs};
use super::writer::{self, WrittenLayer};
use super::{COMPOSEFS, Place, noise, push};
use libcomposefs_testkit::registry_proxy::{ProxyTreatment, RegistryProxy};
use libcomposefs_testkit::slow_link::{LinkSpeed, SlowLink};

/// Size of each file of the layer, and their number. Smaller layers are fetched again.
const FILE: usize = 1 << 20;
const FILES: usize = 33;
/// Bytes per second of the link: the file of a blob that arrives faster is emptied.
const RATE: u64 = 12_000_000;
/// Bytes that arrive before the process is killed, and the fewest of them that are then kept.
const STALL: usize = 20 << 20;
const KEPT: u64 = 16 << 20;

fn layer() -> WrittenLayer {
    let file = |number: usize| (format!("usr/{number}"), vec![noise(number as u64 + 1, FILE)]);
    writer::write(&(0..FILES).map(file).collect::<Vec<_>>())
}

/// Returns the files with received parts.
fn parts(place: &Place) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place.repo().join("cache")) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "partial")).collect()
}

/// Pulls over a slow link from a proxy that stalls, and kills the process once a part is kept. Returns the file.
fn killed_pull(place: &Place, registry: u16) -> PathBuf {
    let proxy = RegistryProxy::start(registry, ProxyTreatment::Stall(STALL));
    let link = SlowLink::start(proxy.port, LinkSpeed::new(Duration::ZERO, Some(RATE)));
    let mut pull = Command::new(COMPOSEFS);
    pull.arg("--repo").arg(place.repo()).args(["oci", "pull", "--name=image", "--tls-verify=false"]);
    pull.arg(format!("docker://127.0.0.1:{}/image:large", link.port)).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = pull.spawn().unwrap();
    let kept = || parts(place).first().and_then(|path| fs::metadata(path).ok()).is_some_and(|file| file.len() >= KEPT);
    while !kept() {
        assert_eq!(process.try_wait().unwrap(), None, "the pull ended before it was killed");
        thread::sleep(Duration::from_millis(20));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    parts(place).remove(0)
}

#[test]
fn a_killed_pull_continues_within_a_layer() {
    let name = "a_killed_pull_continues_within_a_layer";
    if !has_programs(name, &["skopeo"]) {
        return;
    }
    let Some(registry) = Registry::start(name, &Setup::default()) else { return };
    let layer = layer();
    let size = layer.blob.len() as u64;
    push(&registry, &layer, "large");
    let pull = |place: &Place| {
        let proxy = RegistryProxy::start(registry.port, ProxyTreatment::Nothing);
        let image = place.pull(proxy.port, "large", &[])["image"].clone();
        (image, proxy.counted().1)
    };
    let (whole, all) = pull(&Place::new());
    assert!(all >= size);

    let place = Place::new();
    killed_pull(&place, registry.port);
    let (image, bytes) = pull(&place);
    assert_eq!(image, whole);
    assert!(bytes < size - KEPT + (1 << 20), "{bytes} bytes of {size} were fetched");
    assert!(parts(&place).is_empty(), "the part is removed with the pull that needed it");

    // A damaged part costs its bytes, and nothing else.
    let place = Place::new();
    let part = killed_pull(&place, registry.port);
    OpenOptions::new().write(true).open(&part).unwrap().write_all_at(b"damage", 1 << 20).unwrap();
    let (image, bytes) = pull(&place);
    assert_eq!(image, whole);
    assert!(bytes >= size, "{bytes} bytes of {size} were fetched");
    assert!(parts(&place).is_empty());

    // A part that another process has locked is left alone.
    let place = Place::new();
    let part = killed_pull(&place, registry.port);
    let (lock, before) = (File::open(&part).unwrap(), fs::read(&part).unwrap());
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    assert_eq!(place.ours(&["gc", "--grace=0"]).status, Some(0));
    let (image, bytes) = pull(&place);
    assert_eq!(image, whole);
    assert!(bytes >= size);
    assert!(fs::read(&part).unwrap() == before, "the file of another process has changed");

    // The gc removes parts that are old enough.
    drop(lock);
    assert_eq!(place.ours(&["gc"]).status, Some(0));
    assert!(part.exists());
    assert_eq!(place.ours(&["gc", "--grace=0"]).status, Some(0));
    assert!(!part.exists());
}
