//! A disk with a repository, and the program that boots from it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_mount::Overlayfs;
use libcomposefs_sys::mount::FsContext;
use libcomposefs_sys::verity::{Enabled, enable};

/// Abilities of this machine that tests need.
pub(crate) struct BootFacts {
    /// The reason why nothing can be mounted at all.
    pub(crate) mountless: Option<String>,
    /// The reason why files of the scene have no fs-verity.
    pub(crate) no_fs_verity: Option<String>,
    /// The reason why overlayfs does not verify files.
    pub(crate) no_overlay_verity: Option<String>,
}

impl BootFacts {
    pub(crate) fn find() -> Self {
        let context = |name: &str| FsContext::open(name).err().map(|error| error.to_string());
        let is_root = libcomposefs_testkit::privilege::is_root();
        let mountless = if is_root { None } else { Some("mounting needs root".to_owned()) };
        let mountless = mountless.or_else(|| context("overlay")).or_else(|| context("erofs"));
        let has_overlay_verity = mountless.is_none() && Overlayfs::probe().is_ok_and(|overlayfs| overlayfs.verity);
        let no_overlay_verity =
            if has_overlay_verity { None } else { Some("overlayfs of this kernel cannot verify files".into()) };
        Self { no_fs_verity: mountless.clone().or_else(no_fs_verity), no_overlay_verity, mountless }
    }

    /// The reason why nothing can be verified.
    pub(crate) fn no_verity(&self) -> Option<String> {
        self.no_overlay_verity.clone().or_else(|| self.no_fs_verity.clone())
    }
}

fn no_fs_verity() -> Option<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let opened = fs::File::open(file.path()).unwrap();
    let path = file.into_temp_path();
    let enabled = enable(&opened, 1, 4096);
    drop(path);
    match enabled {
        Ok(Enabled::Now) => None,
        other => Some(format!("{} has no fs-verity: {other:?}", std::env::temp_dir().display())),
    }
}

/// The content of `/sbin/init` of the images: an object.
pub(crate) fn init() -> Vec<u8> {
    "#!/bin/sh\n# init of a test\n".repeat(300).into_bytes()
}

/// The content of `/bin/sh` of the images, an object too: the interpreter of [`init`]. No test starts it.
pub(crate) fn shell() -> Vec<u8> {
    b"shell of a test\n".repeat(500)
}

/// A disk, whose image has `/bin/sh`, `/etc/base`, `/sbin/init`, `/sysroot` and `/var`.
pub(crate) struct Scene {
    dir: tempfile::TempDir,
    /// True if fs-verity is on for all objects.
    pub(crate) has_verity: bool,
    /// Digest of the image.
    pub(crate) digest: Digest,
}

/// Output of the program and of the script after it.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Scene {
    pub(crate) fn new(has_verity: bool) -> std::io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("composefs-boot-").tempdir()?;
        let digest = Digest::from_hex("00".repeat(32)).unwrap();
        let mut scene = Self { dir, has_verity, digest };
        for sub in ["disk/composefs/objects", "disk/composefs/images", "target"] {
            fs::create_dir_all(scene.path(sub))?;
        }
        fs::write(scene.path("disk/composefs/meta.json"), "{\"version\":1,\"algorithm\":\"fsverity-sha256-12\"}")?;
        scene.digest = scene.add_image(Algorithm::Sha256, "base");
        Ok(scene)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Path of an object.
    pub(crate) fn object(&self, digest: &Digest) -> PathBuf {
        self.path("disk/composefs/objects").join(digest.object_path())
    }

    fn add_object(&self, algorithm: Algorithm, content: &[u8]) -> Digest {
        let digest = verity::digest(algorithm, content);
        let path = self.object(&digest);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !path.exists() {
            fs::write(&path, content).unwrap();
            self.seal(algorithm, &path);
        }
        digest
    }

    fn seal(&self, algorithm: Algorithm, path: &Path) {
        if self.has_verity {
            enable_verity(algorithm, path);
        }
    }

    /// Enables fs-verity on an object of a scene that has none.
    pub(crate) fn seal_object(&self, digest: &Digest) {
        enable_verity(digest.algorithm(), &self.object(digest));
    }

    /// The repository demands verity from now on.
    pub(crate) fn demand_verity(&self) {
        self.seal(Algorithm::Sha256, &self.path("disk/composefs/meta.json"));
    }

    /// An image whose `/etc/base` has this content.
    pub(crate) fn add_image(&self, algorithm: Algorithm, base: &str) -> Digest {
        self.add_image_of(algorithm, &["etc", "sysroot", "usr", "var"], base)
    }

    /// An image with these directories; `NAME->TARGET` is a symlink.
    pub(crate) fn add_image_of(&self, algorithm: Algorithm, directories: &[&str], base: &str) -> Digest {
        let mut text = String::from("/ 4096 40755 2 0 0 0 0.0 - - -\n");
        for directory in ["bin", "sbin"].iter().chain(directories) {
            text += &match directory.split_once("->") {
                None => format!("/{directory} 4096 40755 2 0 0 0 0.0 - - -\n"),
                Some((name, to)) => format!("/{name} {} 120777 1 0 0 0 0.0 {to} - -\n", to.len()),
            };
        }
        text += &format!("/etc/base {} 100644 1 0 0 0 0.0 - {base} -\n", base.len());
        for (name, content) in [("/bin/sh", shell()), ("/sbin/init", init())] {
            let object = self.add_object(algorithm, &content);
            let (len, path) = (content.len(), object.object_path());
            text += &format!("{name} {len} 100755 1 0 0 0 0.0 {path} - {}\n", object.to_hex());
        }
        let mut parser = Parser::new(dump::Options { algorithm, ..dump::Options::default() });
        text.lines().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
        let mut bytes = Vec::new();
        Image::plan(&parser.finish().unwrap().tree, Versions::default()).unwrap().write(&mut bytes).unwrap();
        let digest = self.add_object(algorithm, &bytes);
        self.link(&digest, &digest);
        digest
    }

    /// Lets the link of one image lead to the object of another.
    pub(crate) fn link(&self, name: &Digest, object: &Digest) {
        let link = self.path("disk/composefs/images").join(name.to_hex());
        let _ = fs::remove_file(&link);
        symlink(format!("../objects/{}", object.object_path()), link).unwrap();
    }

    /// Replaces an object by one of this content, without fs-verity.
    pub(crate) fn replace(&self, digest: &Digest, content: &[u8]) {
        fs::remove_file(self.object(digest)).unwrap();
        fs::write(self.object(digest), content).unwrap();
    }

    /// The word of the command line for the image, with `?` where nothing can be verified.
    pub(crate) fn word(&self) -> String {
        self.word_of(&self.digest)
    }

    pub(crate) fn word_of(&self, digest: &Digest) -> String {
        format!("rw composefs={}{}", if self.has_verity { "" } else { "?" }, digest.to_hex())
    }

    /// Runs the program for the disk in a namespace of its own, and `after` in its shell, where `$T` is the target.
    pub(crate) fn boot(&self, line: &str, options: &[&str], after: &str) -> Ran {
        self.boot_after("true", line, options, after)
    }

    /// Does the same after `before`, where `$D` is the disk.
    pub(crate) fn boot_after(&self, before: &str, line: &str, options: &[&str], after: &str) -> Ran {
        let (disk, target) = (self.path("disk"), self.path("target"));
        let mut words = vec![format!("--sysroot={}", disk.display()), format!("--cmdline={line}")];
        words.extend([format!("--target={}", target.display()), "--config=".to_owned()]);
        words.extend(options.iter().map(|option| (*option).to_owned()));
        self.shell(&program(), before, &words, &disk, &target, after)
    }

    /// Boots a name, with the program that can, and the policy that [`crate::signer`] writes.
    pub(crate) fn boot_name(&self, words: &str, after: &str) -> Ran {
        let (disk, target) = (self.path("disk"), self.path("target"));
        let words = [
            format!("--sysroot={}", disk.display()),
            format!("--cmdline=rw {words}"),
            format!("--target={}", target.display()),
            format!("--policy={}", self.path("policy.toml").display()),
            "--config=".to_owned(),
        ];
        let program = named_program().expect("the test needs a program that boots by name");
        self.shell(&program, "true", &words, &disk, &target, after)
    }

    /// Runs the program as a boot does: the root covers the disk.
    pub(crate) fn boot_in_place(&self, line: &str, options: &[&str], after: &str) -> Ran {
        let disk = self.path("disk");
        let mut words = vec![format!("--sysroot={}", disk.display()), format!("--cmdline={line}"), "--config=".into()];
        words.extend(options.iter().map(|option| (*option).to_owned()));
        self.shell(&program(), "true", &words, &disk, &disk, after)
    }

    fn shell(&self, program: &Path, before: &str, words: &[String], disk: &Path, target: &Path, after: &str) -> Ran {
        let script = format!(
            "mount -t tmpfs run /run || exit 98\n{{ {before}; }} || exit 99\n\"$P\" \"$@\"\nstatus=$?\n\
             {{ {after}; }} 2>&1\nexit $status\n"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, "sh"]).args(words).stdin(Stdio::null());
        command.env("P", program).env("D", disk).env("T", target).env("S", self.dir.path());
        let output = command.output().expect("unshare(1) runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { status: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// The program under test.
fn program() -> PathBuf {
    std::env::var_os("COMPOSEFS_SETUP_ROOT")
        .map_or_else(|| env!("CARGO_BIN_EXE_composefs-setup-root").into(), PathBuf::from)
}

/// The program under test that boots by name, if there is one.
pub(crate) fn named_program() -> Option<PathBuf> {
    let own = || option_env!("CARGO_BIN_EXE_composefs-setup-root-by-name").map(PathBuf::from);
    std::env::var_os("COMPOSEFS_SETUP_ROOT_BY_NAME").map(PathBuf::from).or_else(own)
}

fn enable_verity(algorithm: Algorithm, path: &Path) {
    let file = fs::File::open(path).unwrap();
    assert_eq!(enable(&file, algorithm.kernel_number(), 4096).unwrap(), Enabled::Now);
}

impl Ran {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 0, "{self:#?}");
        self
    }

    /// The boot was refused with these texts, in two lines that fit a console, and nothing is mounted.
    #[track_caller]
    pub(crate) fn refused(self, texts: &[&str]) -> Self {
        assert_eq!(self.status, 1, "{self:#?}");
        for text in texts {
            assert!(self.stderr.contains(text), "no {text:?} in {self:#?}");
        }
        let lines: Vec<_> = self.stderr.lines().rev().take(2).collect();
        assert!(lines.len() == 2 && lines[1].starts_with("composefs: BOOT REFUSED: "), "{self:#?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{self:#?}");
        assert!(!self.stdout.contains("MOUNTED"), "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no {text:?} in {self:#?}");
        self
    }
}

/// Prints `MOUNTED` if something is mounted at the target, or temporarily in `/run`.
pub(crate) const MOUNTED: &str = "grep -q -e \" $T \" -e ' /run/' /proc/self/mountinfo && echo MOUNTED";

/// Makes a file that everyone may read.
pub(crate) fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}
