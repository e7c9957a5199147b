//! An image of busybox as a directory, and containers on it.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use libcomposefs_testkit::privilege::is_root;

/// Programs of busybox in the image.
const APPLETS: &[&str] = &[
    "sh", "cat", "chroot", "echo", "env", "grep", "hostname", "id", "kill", "ls", "mkdir", "mount", "rm", "sleep",
    "stat", "stty", "touch", "tty", "unshare",
];
pub(crate) const SECCOMP: &str = "/usr/share/containers/seccomp.json";

/// An image: a root directory and a configuration.
pub(crate) struct ContainerImage {
    dir: tempfile::TempDir,
}

impl ContainerImage {
    pub(crate) fn new() -> io::Result<Self> {
        let image = Self { dir: tempfile::tempdir()? };
        let root = image.root();
        for directory in ["bin", "usr/etc", "data/volume", "home/app", "tmp"] {
            fs::create_dir_all(root.join(directory))?;
        }
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
        fs::copy(find("busybox").expect("found before"), root.join("bin/busybox"))?;
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet))?;
        }
        symlink("usr/etc", root.join("etc"))?;
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\napp:x:1001:\nextra:x:2000:app\n")?;
        fs::write(root.join("data/file"), "of the image\n")?;
        image.configure(r#""Cmd":["/bin/id"]"#);
        Ok(image)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces the configuration by one with these fields.
    pub(crate) fn configure(&self, fields: &str) {
        fs::write(self.config(), format!("{{\"config\":{{{fields}}}}}")).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("config.json")
    }

    /// Returns the command `composefs oci run OPTIONS IMAGE -- WORDS`.
    pub(crate) fn command(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["container", "--config"]).arg(self.config());
        if !options.iter().any(|option| option.starts_with("--runtime")) {
            command.args(cgroup_options());
        }
        command.args(options).arg(self.root()).arg("--").args(words);
        command.stdin(Stdio::null());
        command
    }

    /// Returns the command `composefs oci bundle OPTIONS IMAGE DIR -- WORDS`.
    pub(crate) fn bundle_command(&self, directory: &Path, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["bundle", "--config"]).arg(self.config()).args(cgroup_options());
        command.args(options).arg(self.root()).arg(directory).arg("--").args(words);
        command
    }

    /// Runs a container and returns its standard output; it must succeed without a message.
    pub(crate) fn run(&self, options: &[&str], words: &[&str]) -> String {
        let output = self.output(options, words);
        assert!(output.status.success() && output.stderr.is_empty(), "{options:?} {words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a container.
    pub(crate) fn output(&self, options: &[&str], words: &[&str]) -> Output {
        self.command(options, words).output().unwrap()
    }

    /// Runs a container and returns its exit status and messages.
    pub(crate) fn status(&self, options: &[&str], words: &[&str]) -> (i32, String) {
        let output = self.output(options, words);
        (output.status.code().expect("an exit status"), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Options for crun on a machine where it cannot make control groups.
fn cgroup_options() -> &'static [&'static str] {
    if find("crun").is_some() && !has_cgroups() { &["--cgroups=disabled"] } else { &[] }
}

/// crun needs the second version with a controller; its older versions also need to lift the limit on locked memory.
pub(crate) fn has_cgroups() -> bool {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    controllers.contains("pids") && fs::metadata("/sys/fs/cgroup/cgroup.subtree_control").is_ok()
}

/// Returns true if `/sys/fs/cgroup` has the first version of control groups.
pub(crate) fn has_first_version() -> bool {
    !Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// Returns the path of a program.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// Returns what the machine lacks for a container.
pub(crate) fn unmet() -> Option<String> {
    if !is_root() {
        return Some("not root".to_owned());
    }
    if find("crun").is_none() {
        return Some("crun is not installed".to_owned());
    }
    if !Path::new(SECCOMP).exists() {
        return Some(format!("{SECCOMP} is missing"));
    }
    find("busybox").is_none().then(|| "busybox is not installed".to_owned())
}
