//! `composefs oci run` where control groups and fs-verity are real: limits are enforced, and contents are verified.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::command::{self, Ran};
use crate::context::Context;
use crate::kernel::Kernels;

// Verified mounts need overlayfs with `verity=require`.
super::tests! { "containers", Kernels::Since((6, 6)) => [
    limits_are_enforced,
    contents_are_verified,
    a_user_runs_a_container,
] }

const LAYOUT: &str = include_str!("containers_layout.sh");
const IN_NEW_ROOT: &str = include_str!("containers_new_root.sh");

/// Makes a repository with the OCI image `box` in this directory.
fn pull(context: &Context, dir: &Path) -> Result<()> {
    command::run(Command::new("sh").args(["-euc", LAYOUT]).current_dir(dir))?.success()?;
    command::run(context.composefs().args(["--repo", "repo", "init"]).current_dir(dir))?.success()?;
    let mut pull = context.composefs();
    pull.args(["--repo", "repo", "oci", "pull", "oci:layout", "--name", "box"]);
    command::run(pull.current_dir(dir))?.success()?;
    Ok(())
}

/// Runs a shell command in a container of the image, with options.
fn run(dir: &Path, options: &str, script: &str) -> Result<Ran> {
    let line = format!("exec composefs --repo repo oci run {options} box -- sh -c '{script}'");
    command::run(Command::new("sh").args(["-euc", IN_NEW_ROOT, "sh", &line]).current_dir(dir))
}

fn limits_are_enforced(context: &Context) -> Result<()> {
    let dir = context.scratch("limits")?;
    pull(context, &dir)?;
    // tail keeps all it reads in memory, as it finds no end of a line.
    let hungry = "cat /sys/fs/cgroup/memory.max; head -c 48000000 /dev/zero | tail -n 1 | wc -c";
    let busy = "cat /sys/fs/cgroup/cpu.max; i=0; while [ $i -lt 6000 ]; do i=$((i + 1)); done
        grep nr_throttled /sys/fs/cgroup/cpu.stat";
    let free = run(&dir, "", &format!("{hungry}; {busy}"))?.success()?;
    let lines: Vec<&str> = free.stdout.lines().map(str::trim).collect();
    ensure!(lines == ["max", "48000000", "max 100000", "nr_throttled 0"], "without a limit: {free:?}");

    // The kernel kills a process of the container; the shell may be one of them.
    let limited = run(&dir, "--memory=24m", hungry)?;
    ensure!(limited.stdout.starts_with("25165824\n"), "{limited:?}");
    ensure!(!limited.stdout.contains("48000000"), "the limit of the memory is not enforced: {limited:?}");

    let limited = run(&dir, "--cpus=0.25", busy)?.success()?;
    let throttled = limited.stdout.strip_prefix("25000 100000\nnr_throttled ");
    ensure!(throttled.is_some_and(|count| count.trim() != "0"), "the limit of the CPU is not enforced: {limited:?}");
    Ok(())
}

fn contents_are_verified(context: &Context) -> Result<()> {
    let dir = context.scratch("verified")?;
    pull(context, &dir)?;
    let read = "cat /etc/content > /dev/null && echo read";
    let honest = run(&dir, "", read)?.success()?.stdout;
    ensure!(honest == "read\n", "{honest}");
    // Another file of the same size, also with fs-verity, takes the place of the object.
    let replace = "object=repo/objects/$(fsverity digest --compact content | sed 's,^\\(..\\),\\1/,')
        tr a b < content > other
        mv other $object
        fsverity enable $object";
    command::run(Command::new("sh").args(["-euc", replace]).current_dir(&dir))?.success()?;
    let replaced = run(&dir, "", read)?;
    ensure!(replaced.status != Some(0), "the container read another content: {}", replaced.stdout);
    replaced.says("/etc/content")?;
    Ok(())
}

fn a_user_runs_a_container(context: &Context) -> Result<()> {
    let dir = context.scratch("user")?;
    pull(context, &dir)?;
    let open = "test ! -e /dev/fuse || chmod 666 /dev/fuse; chmod -R a+rX repo; chmod 755 .";
    command::run(Command::new("sh").args(["-euc", open]).current_dir(&dir))?.success()?;
    let as_user = |options: &str, script: &str| {
        let user = "chmod 1777 /var/tmp; exec /usr/sbin/unshare -G 1000 -S 1000";
        let line = format!("{user} composefs --repo repo oci run {options} box -- sh -c '{script}'");
        command::run(Command::new("sh").args(["-euc", IN_NEW_ROOT, "sh", &line]).current_dir(&dir))
    };
    for network in ["none", "host"] {
        let script = "cat /proc/self/uid_map; echo new > /new; cat /new; head -c 3 /etc/content; exit 7";
        let ran = as_user(&format!("--network={network}"), script)?.exited(7)?;
        let words: Vec<&str> = ran.stdout.split_whitespace().collect();
        ensure!(words == ["0", "1000", "1", "new", "a", "a"], "{network}: {ran:?}");
    }
    as_user("--memory=24m", "true")?.exited(125)?.says("--memory and --cpus need root")?;
    // Nothing is left, and the contents are verified for users too.
    let left = "! ls -d /var/tmp/composefs-run-* && ! ps | grep -v grep | grep 'composefs --repo'";
    command::run(Command::new("sh").args(["-euc", left]).current_dir(&dir))?.success()?;
    let replace = "object=repo/objects/$(fsverity digest --compact content | sed 's,^\\(..\\),\\1/,')
        tr a b < content > other
        mv other $object";
    command::run(Command::new("sh").args(["-euc", replace]).current_dir(&dir))?.success()?;
    let replaced = as_user("", "cat /etc/content | grep b && echo read")?;
    ensure!(!replaced.stdout.contains("read"), "the container read another content: {}", replaced.stdout);
    Ok(())
}
