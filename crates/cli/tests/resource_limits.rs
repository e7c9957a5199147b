//! Commands with few threads, few descriptors, and on file systems or in sandboxes that reject the ioctls of fs-verity.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use libcomposefs_testkit::skip::announce;

/// Fixture: a deep and wide tree, and the programs under their names.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let tree = place.path("tree");
        let mut deep = tree.clone();
        for _ in 0..120 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("deepest"), vec![b'd'; 700]).unwrap();
        for file in 0..80u32 {
            let directory = tree.join(format!("w{file}"));
            fs::create_dir(&directory).unwrap();
            fs::write(directory.join("f"), file.to_le_bytes().repeat(100)).unwrap();
        }
        std::os::unix::fs::symlink("w1/f", tree.join("link")).unwrap();
        for name in ["composefs", "mkcomposefs", "mount.composefs"] {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_composefs"), place.path(name)).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Runs a line of bash in the fixture.
    fn sh(&self, line: &str) -> Output {
        let path = format!("{}:{}", self.0.path().display(), std::env::var("PATH").unwrap());
        Command::new("bash").args(["-c", line]).current_dir(self.0.path()).env("PATH", path).output().unwrap()
    }

    /// Returns the output of a line that must succeed.
    fn succeeds(&self, line: &str) -> String {
        let output = self.sh(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Commands that use threads, each with the line that prepares its input.
const COMMANDS: &[&str] = &[
    "mkcomposefs --print-digest --digest-store=new tree new.img",
    "composefs --repo r create tree --name again",
    "composefs --repo r fsck",
    "composefs --repo r gc",
    "composefs --repo r export name -o bundle; rm bundle",
    "composefs --repo r2 sync r",
    "composefs check --basedir=objects image",
    "composefs diff image tree",
    "composefs digest image",
    "composefs extract image out --basedir=objects; diff -r tree out; rm -rf out",
];

fn prepared() -> (Place, String) {
    let place = Place::new();
    let digest = place.succeeds("mkcomposefs --print-digest --digest-store=objects tree image");
    place.succeeds("composefs --repo r init --insecure; composefs --repo r create tree --name name");
    place.succeeds("composefs --repo r2 init --insecure; chmod -R a+rX .; chmod a+rx .");
    (place, digest)
}

#[test]
fn commands_succeed_with_few_descriptors() {
    let (place, digest) = prepared();
    for limit in [24, 32, 64] {
        for command in COMMANDS {
            let said = place.succeeds(&format!("set -e; rm -rf new new.img; ulimit -n {limit}; {command}"));
            assert!(!command.starts_with("mkcomposefs") || said == digest, "{limit}: {said}");
        }
    }
}

#[test]
fn large_thread_counts_are_limited() {
    let (place, digest) = prepared();
    for threads in ["1", "1000", "100000", "4294967296", "99999999999999999999"] {
        let said = place.succeeds(&format!("mkcomposefs --threads={threads} --print-digest-only tree"));
        assert_eq!(said, digest, "{threads}");
        place.succeeds(&format!("composefs --repo r fsck --threads={threads}"));
        let extract = format!("composefs extract image out --basedir=objects --threads={threads}; diff -r tree out");
        place.succeeds(&format!("set -e; {extract}; rm -rf out"));
    }
    for threads in ["0", "-1", "abc", ""] {
        let refused = place.sh(&format!("composefs --repo r fsck --threads={threads}"));
        assert_eq!(refused.status.code(), Some(2), "{threads}: {refused:?}");
        let refused = place.sh(&format!("mkcomposefs --threads={threads} --print-digest-only tree"));
        assert_eq!(refused.status.code(), Some(1), "{threads}: {refused:?}");
    }
}

/// As a user who may not start another process: the main thread does all the work.
#[test]
fn commands_succeed_without_extra_threads() {
    let name = "commands_succeed_without_extra_threads";
    if !rustix::process::geteuid().is_root() {
        return announce(name, "only root can run a program as another user, to which RLIMIT_NPROC applies");
    }
    let (place, _) = prepared();
    // The other user may not have access to the directory of this build.
    fs::remove_file(place.path("composefs")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_composefs"), place.path("composefs")).unwrap();
    fs::remove_file(place.path("mkcomposefs")).unwrap();
    std::os::unix::fs::symlink("composefs", place.path("mkcomposefs")).unwrap();
    place.succeeds("chown -R 64998:64998 .");
    for command in COMMANDS.iter().filter(|command| !command.contains(';') && !command.contains("diff")) {
        let limited = format!(
            "rm -rf new new.img; exec setpriv --reuid 64998 --regid 64998 --clear-groups \
             bash -c 'ulimit -u 1; exec {command}'"
        );
        place.succeeds(&limited);
    }
}

fn strace() -> bool {
    Command::new("strace").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Each errno that a sandbox or an old FUSE returns means no fs-verity if it is not required, and an error with the
/// cause if it is.
#[test]
fn rejected_fs_verity_ioctls_mean_no_fs_verity() {
    let name = "rejected_fs_verity_ioctls_mean_no_fs_verity";
    if !strace() {
        return announce(name, "strace is not installed");
    }
    let (place, digest) = prepared();
    for (error, cause) in [("EPERM", "sandbox"), ("EACCES", "SELinux"), ("EINVAL", "sandbox"), ("ENOSYS", "FUSE")] {
        let inject = format!("strace -qq -f -o /dev/null -e trace=ioctl -e inject=ioctl:error={error}");
        let said = place.succeeds(&format!(
            "set -e; rm -rf new new.img r3; {inject} mkcomposefs --print-digest --digest-store=new tree new.img
             {inject} composefs --repo r3 init --insecure >&2; {inject} composefs --repo r3 create tree --name n >&2
             {inject} composefs --repo r3 fsck >&2; {inject} composefs check --basedir=new new.img >&2"
        ));
        assert_eq!(said, digest, "{error}");
        if rustix::process::geteuid().is_root() && Path::new("/proc/fs").exists() {
            let options = format!("basedir=objects,digest={}", digest.trim());
            let refused = place.sh(&format!("mkdir -p mnt; {inject} mount.composefs -f image mnt -o {options}"));
            let message = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(1), "{error}: {message}");
            assert!(message.contains("measuring fs-verity failed") && message.contains(cause), "{error}: {message}");
        }
    }
    // Any other errno is an error.
    let full = "strace -qq -f -o /dev/null -e trace=ioctl -e inject=ioctl:error=EIO";
    let failed = place.sh(&format!("rm -rf new new.img; {full} mkcomposefs --digest-store=new tree new.img"));
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
}

/// Runs in a chroot with the program, its libraries and a tree, and without `/proc`, `/dev`, `/run` and `/tmp`.
#[test]
fn a_chroot_without_proc_is_enough() {
    let name = "a_chroot_without_proc_is_enough";
    if !rustix::process::geteuid().is_root() {
        return announce(name, "only root can chroot and mount");
    }
    let (place, digest) = prepared();
    place.succeeds(&format!(
        "set -e; mkdir -p root/bin root/mnt root/w; cp -a tree root/; cp -L {} root/bin/composefs
         for name in mkcomposefs mount.composefs; do ln -s composefs root/bin/$name; done
         for library in $(ldd root/bin/composefs | grep -o '/[^ ]*'); do
             mkdir -p root$(dirname $library); cp -L $library root$library
         done",
        env!("CARGO_BIN_EXE_composefs")
    ));
    let inside = |line: &str| place.sh(&format!("unshare -m bash -c 'set -e; {line}'"));
    let said = inside(
        // Simulates a kernel before 6.10, also for unprivileged users.
        "chown -R 64998:64998 root/w; chmod a+rwx root/w; chmod -R a+rX root
         as_user=\"setpriv --reuid 64998 --regid 64998 --clear-groups --inh-caps=-all\"
         strace -qq -f -o /dev/null -e trace=linkat -e inject=linkat:error=ENOENT \
         chroot --userspec=64998:64998 root /bin/mkcomposefs --digest-store=/w/u /tree /w/ui
         chroot root /bin/mkcomposefs --print-digest --digest-store=/w/o /tree /w/i
         for command in init\\ --insecure create\\ /tree\\ --name=n fsck gc; do
             chroot root /bin/composefs --repo=/w/r $command >&2
         done
         chroot root /bin/composefs extract /w/i /w/out --basedir=/w/o >&2; diff -r tree root/w/out",
    );
    assert!(said.status.success(), "{said:?}");
    assert_eq!(String::from_utf8_lossy(&said.stdout), digest);
    // File-backed EROFS needs Linux 6.12; before that a loop device is used, which does not exist without /dev.
    let mounted = inside(
        "chroot root /bin/mount.composefs /w/i /mnt -o basedir=/w/o; diff -r tree root/mnt
         chroot root /bin/composefs umount /mnt
         [ -z \"$(ls root/mnt)\" ]; chroot root /bin/composefs --repo=/w/r mount n /mnt; diff -r tree root/mnt
         chroot root /bin/composefs umount /mnt",
    );
    let message = String::from_utf8_lossy(&mounted.stderr).into_owned();
    assert!(mounted.status.success() || message.contains("no loop device"), "{mounted:?}");
    // A failed lookup is reported with its reason: the list of mounts, and a digest that the kernel must verify.
    for line in ["/bin/composefs mounts", "/bin/composefs umount /w"] {
        let refused = inside(&format!("chroot root {line}"));
        let message = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && message.contains("/proc"), "{line}: {message}");
    }
}

/// Messages tell root of a user namespace that it is in one.
#[test]
fn messages_mention_the_user_namespace() {
    let name = "messages_mention_the_user_namespace";
    let place = Place::new();
    place.succeeds("mkcomposefs --digest-store=objects tree image; mkdir mnt; chmod -R a+rX .; chmod a+rx .");
    fs::remove_file(place.path("composefs")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_composefs"), place.path("composefs")).unwrap();
    place.succeeds("ln -sf composefs mount.composefs");
    let user =
        if rustix::process::geteuid().is_root() { "setpriv --reuid 65534 --regid 65534 --clear-groups " } else { "" };
    if !place.sh(&format!("{user}unshare -rm true")).status.success() {
        return announce(name, "this machine allows no user namespace to ordinary users");
    }
    let refused = place.sh(&format!("{user}unshare -rm mount.composefs image mnt -o basedir=objects"));
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && message.contains("in a user namespace"), "{message}");
    assert!(!message.contains("run it as root"), "{message}");
    let said = place.sh(&format!("{user}unshare -rm composefs doctor ."));
    let report = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(report.contains("missing  permissions: user 0 of a user namespace"), "{report}");
}
