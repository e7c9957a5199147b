//! Fixture: a directory with an image and its objects, and the programs under their names at the front of `PATH`.

use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::read::GzDecoder;

const IMAGE: &[u8] = include_bytes!("../../../mount/tests/data/small.img.gz");
pub(crate) const OBJECT: &str = "2c/783dc6fd8b93cd84cd0f0ce3264dd52592414c5c818afdcc54192fd73c78bc";

/// Returns the content of `dir/external` in the image.
pub(crate) fn content() -> String {
    "composefs\n".repeat(20)
}

pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> std::io::Result<Self> {
        let place = Self(tempfile::Builder::new().prefix("composefs-test-").tempdir()?);
        for dir in ["bin", "mnt"] {
            fs::create_dir(place.path(dir))?;
        }
        for name in ["composefs", "composefs-fuse", "mkcomposefs", "mount.composefs"] {
            symlink(env!("CARGO_BIN_EXE_composefs"), place.path("bin").join(name))?;
        }
        let object = place.path("objects").join(OBJECT);
        fs::create_dir_all(object.parent().unwrap_or(Path::new("/")))?;
        fs::write(object, content())?;
        let mut image = Vec::new();
        GzDecoder::new(IMAGE).read_to_end(&mut image)?;
        fs::write(place.path("image"), image)?;
        Ok(place)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Runs a command line in the directory.
    pub(crate) fn sh(&self, line: &str) -> Answer {
        self.run(Command::new("sh").args(["-ec", line]), line)
    }

    /// Runs a script in a mount namespace of its own, which removes every mount when the script ends.
    pub(crate) fn in_namespace(&self, script: &str) -> Answer {
        // Prepends the directory of programs to /sbin, by an overlay that only exists in this namespace.
        let with_helper = format!("mount -t overlay sbin -o lowerdir=$PWD/bin:/sbin /sbin\n{script}");
        self.run(Command::new("unshare").args(["-m", "sh", "-ec", &with_helper]), script)
    }

    fn run(&self, command: &mut Command, line: &str) -> Answer {
        let mut path = OsString::from(self.path("bin"));
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let output = command.current_dir(self.0.path()).env("PATH", path).output().unwrap();
        Answer { line: line.to_owned(), output }
    }
}

pub(crate) struct Answer {
    line: String,
    output: Output,
}

impl Answer {
    /// Returns the output if the status is 0.
    pub(crate) fn succeeds(&self) -> String {
        assert!(self.output.status.success(), "{}: {:?}", self.line, self.output);
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// Returns the messages if the status is the given one.
    pub(crate) fn fails(&self, status: i32) -> String {
        assert_eq!(self.output.status.code(), Some(status), "{}: {:?}", self.line, self.output);
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

/// Returns the reason why nothing can be mounted on this machine.
pub(crate) fn no_mounts() -> Option<String> {
    if let Err(error) = Command::new("unshare").arg("--version").output() {
        return Some(format!("unshare(1) cannot be run: {error}"));
    }
    let place = Place::new().ok()?;
    let tried = place.in_namespace(
        "mount --version; for fs in erofs overlay; do modprobe $fs || true; done 2>/dev/null; \
         grep -q overlay /proc/filesystems; grep -q erofs /proc/filesystems",
    );
    let output = tried.output;
    (!output.status.success()).then(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("mounting needs root, unshare(1), mount(8), EROFS and overlayfs: {}", said.trim())
    })
}
