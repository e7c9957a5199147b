//! Bundles for the runtime itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_sys::mount::unmount;

use crate::fixture::{ContainerImage, has_cgroups, has_first_version};

/// A directory whose mounts end with the test.
struct BundleDirectory(PathBuf);

impl Drop for BundleDirectory {
    fn drop(&mut self) {
        for name in ["rootfs", "lower"] {
            while unmount(&self.0.join(name), true).is_ok() {}
        }
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(crate) fn is_run_by_the_runtime(image: &ContainerImage) {
    let bundle = BundleDirectory(image.scratch().join("bundle"));
    let script = "cat /data/file; echo changed > /data/file; id -u; hostname";
    let made = image.bundle_command(&bundle.0, &["-eA=b"], &["/bin/sh", "-c", script]).output().unwrap();
    assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
    assert_eq!(names(&bundle.0), ["changes", "config.json", "hostname", "hosts", "lower", "rootfs"]);
    let config: serde_json::Value = serde_json::from_slice(&fs::read(bundle.0.join("config.json")).unwrap()).unwrap();
    assert!(config["process"]["env"].as_array().unwrap().contains(&"A=b".into()), "{config}");

    let mut crun = Command::new("unshare");
    let mount = if has_first_version() { "mount -t cgroup2 cgroup2 /sys/fs/cgroup" } else { ":" };
    crun.args(["-m", "sh", "-ec", &format!("{mount}; exec \"$@\""), "sh", "crun"]);
    if !has_cgroups() {
        crun.arg("--cgroup-manager=disabled");
    }
    let ran = crun.args(["run", "--bundle"]).arg(&bundle.0).arg("composefs-test-bundle").output().unwrap();
    let id = fs::read_to_string(bundle.0.join("hostname")).unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("of the image\n0\n{id}"), "{ran:?}");
    assert_eq!(fs::read_to_string(bundle.0.join("changes/upper/data/file")).unwrap(), "changed\n");
    assert_eq!(fs::read_to_string(image.root().join("data/file")).unwrap(), "of the image\n");

    // The root of a container is no image, so that it is no mount of `composefs mounts`.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        mounts.contains("bundle/rootfs rw,relatime") && mounts.contains(" - overlay composefs-container "),
        "{mounts}"
    );

    let again = image.bundle_command(&bundle.0, &[], &["/bin/id"]).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("is not empty"), "{again:?}");
}

pub(crate) fn failed_leaves_nothing(image: &ContainerImage) {
    let bundle = BundleDirectory(image.scratch().join("bundle"));
    image.configure(r#""User":"stranger""#);
    let made = image.bundle_command(&bundle.0, &[], &["/bin/id"]).output().unwrap();
    assert!(!made.status.success());
    assert_eq!(names(&bundle.0), Vec::<String>::new(), "{made:?}");
    let colon = BundleDirectory(image.scratch().join("a:b"));
    let made = image.bundle_command(&colon.0, &[], &["/bin/id"]).output().unwrap();
    assert!(String::from_utf8_lossy(&made.stderr).contains("choose another path"), "{made:?}");
}
