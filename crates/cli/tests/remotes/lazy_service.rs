//! A lazy mount as a service of a real systemd, which is process 1 of namespaces of its own.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libcomposefs_testkit::skip;
use libcomposefs_testkit::slow_link::{LinkSpeed, SlowLink};

use super::lazy_fixture::Lazy;
use super::servers;

const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// Number of times that the worker is killed, and of files that are read at each time.
const KILLS: usize = 6;
const AT_ONCE: usize = 3;

/// Makes a root directory of its own: an overlay in memory on that of the machine, with the directory of the test, and
/// a control group that becomes the root of systemd's. Nothing else of the machine can be changed from there.
const ENTER: &str = r#"
    here=$PWD; mount --make-rprivate /; mkdir groups root memory; mount -t cgroup2 cgroup2 groups
    mkdir "groups/$GROUP"; echo $$ >"groups/$GROUP/cgroup.procs"
    mount -t tmpfs memory memory; mkdir memory/upper memory/work
    mount -t overlay root -o lowerdir=/,upperdir=memory/upper,workdir=memory/work root
    mkdir -p "root$here" root/old; mount --bind . "root$here"
    for directory in dev run tmp/units; do
        mkdir -p root/$directory; mount -t tmpfs -o mode=755 own root/$directory
    done
    for device in null zero full random urandom tty fuse; do
        touch root/dev/$device; mount --bind /dev/$device root/dev/$device
    done
    exec unshare --cgroup --ipc --pid --fork --kill-child sh -ec "$BOOT"
"#;

/// Becomes systemd. It has the units in `/tmp/units` alone: those of the machine would set up a whole system.
const BOOT: &str = r#"
    cd root; pivot_root . old; cd "$HERE"; mount -t proc proc /proc; umount -l /old
    mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys
    mount -t sysfs -o ro sysfs /sys; mount -t cgroup2 cgroup2 /sys/fs/cgroup
    sed "s|/usr/bin/composefs|$HERE/bin/composefs|" unit >/tmp/units/composefs-lazy@.service
    mkdir -p /etc/composefs/lazy; cp conf "/etc/composefs/lazy/$(systemd-escape --path "$HERE/mnt").conf"
    for target in sysinit basic shutdown umount network-online multi-user; do
        printf '[Unit]\nDefaultDependencies=no\n' >/tmp/units/$target.target
    done
    printf '[Unit]\nDefaultDependencies=no\nWants=script.service\n' >/tmp/units/script.target
    printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\n' >/tmp/units/script.service
    printf 'WorkingDirectory=%s\nExecStart=/bin/bash script\n' "$HERE" >>/tmp/units/script.service
    printf 'StandardOutput=file:%s/said\nStandardError=file:%s/said\n' "$HERE" "$HERE" >>/tmp/units/script.service
    exec env -i container=other PATH="$PATH" SYSTEMD_UNIT_PATH=/tmp/units SYSTEMD_GENERATOR_PATH=/none \
        "$SYSTEMD" --system --unit=script.target --log-target=console --log-level=notice --show-status=no
"#;

/// Kills, restarts and upgrades the service while programs wait for files, and at last unmounts.
const SCRIPT: &str = r#"
    set -ex; trap 'echo $? >result' EXIT
    unit=composefs-lazy@$(systemd-escape --path "$PWD/mnt").service; next=0
    show() { systemctl show --property="$1" --value "$unit"; }
    # Reads the next files, which must come while or after the command runs.
    while_reading() {
        local readers=() pid
        for reader in 1 2 3; do cmp "mnt/f$next" "big/f$next" & readers+=($!); next=$((next + 1)); done
        sleep "0.0$((RANDOM % 80 + 10))"; "$@"
        for pid in "${readers[@]}"; do wait "$pid"; done
    }
    killed() { last=$(show MainPID); test "$last" -gt 1; kill -9 "$last"; }
    # A process after the last one serves.
    is_served() { test "$(show ActiveState)" = active && test "$(show MainPID)" != "$last"; }
    upgraded() { cp bin/composefs bin/new; mv bin/new bin/composefs; systemctl try-restart 'composefs-lazy@*.service'; }
    systemctl start "$unit"; cmp mnt/small big/small; test "$(show NFileDescriptorStore)" = 3
    for kill in $(seq "$KILLS"); do
        while_reading killed
        until is_served; do sleep 0.02; done
    done
    test "$(show NRestarts)" = "$KILLS"
    while_reading systemctl restart "$unit"; while_reading upgraded
    test "$(show ActiveState)" = active; bin/composefs status mnt | grep -q overlay
    bin/composefs umount mnt
    while test "$(show ActiveState)" != inactive; do sleep 0.02; done
    test "$(show Result)" = success; test "$(show NFileDescriptorStore)" = 0; test ! -e mnt/small
    # It mounts again, and a complete image needs no process.
    systemctl start "$unit"; cmp mnt/f0 big/f0; bin/composefs fill mnt --wait
    while test "$(show ActiveState)" != inactive; do sleep 0.05; done
    test "$(show Result)" = success; cmp mnt/f1 big/f1; bin/composefs umount mnt
"#;

/// Systemd, which ends with all its processes when this is dropped.
struct Systemd(Child);

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Removes a control group with all below it, when its processes have ended.
fn remove_group(name: &str) {
    let script = "mount -t cgroup2 cgroup2 /sys/fs/cgroup; cd /sys/fs/cgroup
        for try in $(seq 100); do
            find $1 -depth -type d -exec rmdir {} + 2>/dev/null || :; test -e $1 || exit 0; sleep 0.1
        done; exit 1";
    let status = Command::new("unshare").args(["--mount", "sh", "-ec", script, "sh", name]).status().unwrap();
    assert!(status.success(), "the control group {name} cannot be removed");
}

#[test]
fn a_service_that_is_killed_and_upgraded_costs_no_error() {
    let test = "lazy_service::a_service_that_is_killed_and_upgraded_costs_no_error";
    if !Path::new(SYSTEMD).exists() {
        return skip::announce(test, "systemd is not installed");
    }
    let Some(lazy) = Lazy::by_overlay(test, (KILLS + 4) * AT_ONCE) else { return };
    let home = lazy.place.path("nginx");
    fs::create_dir(&home).unwrap();
    let Some(nginx) = servers::nginx(test, lazy.place.dir.path(), &home, "") else { return };
    let link = SlowLink::start(nginx.port, LinkSpeed::new(Duration::from_millis(20), None));
    let place = |name: &str| lazy.place.path(name);
    fs::create_dir(place("bin")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_composefs"), place("bin/composefs")).unwrap();
    let repository = place("there");
    let remote = format!("http://127.0.0.1:{}/remote", link.port);
    fs::write(place("conf"), format!("REPO={}\nREMOTE={remote}\nREF=big\n", repository.display())).unwrap();
    fs::write(place("script"), format!("KILLS={KILLS}\n{SCRIPT}")).unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--uts", "sh", "-ec", ENTER]).env("BOOT", BOOT);
    let group = format!("composefs-test-{}", std::process::id());
    unshare.env("GROUP", &group);
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/composefs-lazy@.service");
    fs::copy(unit, place("unit")).unwrap();
    unshare.env("HERE", lazy.place.dir.path());
    let log = fs::File::create(place("log")).unwrap();
    unshare.env("SYSTEMD", SYSTEMD).current_dir(lazy.place.dir.path()).stdin(Stdio::null());
    let mut systemd = Systemd(unshare.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    let begun = Instant::now();
    let result = loop {
        if let Ok(result) = fs::read_to_string(place("result")) {
            break result;
        }
        let is_running = systemd.0.try_wait().unwrap().is_none();
        if !is_running || begun.elapsed() > Duration::from_secs(180) {
            break "no result".to_owned();
        }
        thread::sleep(Duration::from_millis(20));
    };
    let said = |name: &str| fs::read_to_string(place(name)).unwrap_or_default();
    drop(systemd);
    remove_group(&group);
    assert_eq!(result, "0\n", "{}\n{}", said("said"), said("log"));
    lazy.place.ok("there", &["fsck"]);
}

#[test]
fn a_service_needs_a_manager() {
    let Some(lazy) = Lazy::by_overlay("lazy_service::a_service_needs_a_manager", 1) else { return };
    let (remote, target) = (format!("--lazy={}", lazy.remote()), lazy.target());
    let line = ["mount", &remote, "big", target.to_str().unwrap(), "--service"];
    let outcome = lazy.place.run("there", &line);
    assert_eq!(outcome.status, Some(1));
    assert!(outcome.stderr.contains("NOTIFY_SOCKET") && outcome.stderr.contains("composefs-lazy@"), "{outcome:?}");
    lazy.place.ok("there", &line[..4]);
    lazy.unmount();
}
