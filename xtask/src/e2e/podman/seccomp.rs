//! Compares the filter of system calls in a configuration of ours with that in podman's.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::e2e::chroot::Chroot;
use crate::test::report::Suite;

/// Compares the two configurations that `containers.sh` left in the system.
pub(super) fn compare(chroot: &Chroot) -> Result<Suite> {
    let mut suite = Suite { kind: "e2e".into(), name: "podman".into(), finished: true, ..Suite::default() };
    let [podman, ours] = ["t/podman-config.json", "t/oci-bundle/config.json"].map(|name| filter(chroot, name));
    match (podman, ours) {
        (Ok(podman), Ok(ours)) if podman == ours => println!("[podman] the filters of system calls are equal"),
        (Ok(podman), Ok(ours)) => suite.failures.push(format!("the filter of podman is {podman}, ours is {ours}")),
        (Err(error), _) | (_, Err(error)) => suite.failures.push(format!("no filter of system calls: {error:#}")),
    }
    (suite.passed, suite.failed) = (u32::from(suite.failures.is_empty()), suite.failures.len() as u32);
    Ok(suite)
}

/// The filter without what makes no difference: the order of names, and a second value that no comparison uses.
fn filter(chroot: &Chroot, name: &str) -> Result<Value> {
    let mut config: Value = serde_json::from_slice(&fs::read(chroot.path(name))?)?;
    let mut filter = config["linux"]["seccomp"].take();
    for rule in filter["syscalls"].as_array_mut().context("no rules")? {
        rule["names"].as_array_mut().context("a rule without names")?.sort_by_key(Value::to_string);
        for argument in rule["args"].as_array_mut().into_iter().flatten() {
            let argument = argument.as_object_mut().context("an odd argument")?;
            argument.retain(|name, value| name != "valueTwo" || *value != 0);
        }
    }
    Ok(filter)
}
