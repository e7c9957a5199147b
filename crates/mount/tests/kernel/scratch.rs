//! A place to mount in, that cleans up whatever the test did, and what this kernel and file system can.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use libcomposefs_mount::{Error, ImageFile, KernelFeatures, Mounted, Plan, UnknownOptions, parse};
use libcomposefs_sys::mount::unmount;
use libcomposefs_sys::verity::{Enabled, enable};

/// Made by the C tools from `small.dump`.
const IMAGE: &[u8] = include_bytes!("../data/small.img.gz");
/// The digest of [`CONTENT`], by which `small.dump` names the object of `dir/external`.
pub(crate) const OBJECT: &str = "2c/783dc6fd8b93cd84cd0f0ce3264dd52592414c5c818afdcc54192fd73c78bc";

pub(crate) fn content() -> String {
    "composefs\n".repeat(20)
}

/// A directory with an image, its objects, a mount point and room for a writable layer.
pub(crate) struct Scratch {
    dir: tempfile::TempDir,
    before: BTreeSet<PathBuf>,
}

impl Scratch {
    pub(crate) fn new() -> std::io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("composefs-test-").tempdir()?;
        let scratch = Self { dir, before: temporary_mountpoints() };
        for sub in ["mnt", "upper", "work"] {
            fs::create_dir(scratch.path(sub))?;
        }
        scratch.put_objects("objects")?;
        scratch.put_image("image")?;
        Ok(scratch)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An object directory of this name.
    pub(crate) fn put_objects(&self, name: &str) -> std::io::Result<PathBuf> {
        let object = self.path(name).join(OBJECT);
        fs::create_dir_all(object.parent().unwrap())?;
        fs::write(&object, content())?;
        Ok(object)
    }

    /// A copy of the image under this name.
    pub(crate) fn put_image(&self, name: &str) -> std::io::Result<PathBuf> {
        let mut image = Vec::new();
        GzDecoder::new(IMAGE).read_to_end(&mut image)?;
        let path = self.path(name);
        fs::write(&path, image)?;
        Ok(path)
    }

    /// Returns the option text `basedir=…/objects`, followed by `more`.
    pub(crate) fn options(&self, more: &str) -> OsString {
        let mut text = OsString::from("basedir=");
        text.push(self.path("objects"));
        text.push(more);
        text
    }

    /// Mounts the image at `mnt`.
    pub(crate) fn mount(&self, more: &str, allowed: KernelFeatures) -> Result<Mounted, Error> {
        self.mount_with(&self.options(more), allowed)
    }

    pub(crate) fn mount_with(&self, options: &OsString, allowed: KernelFeatures) -> Result<Mounted, Error> {
        self.mount_image(&self.path("image"), options, allowed)
    }

    pub(crate) fn mount_image(
        &self,
        image: &Path,
        options: &OsString,
        allowed: KernelFeatures,
    ) -> Result<Mounted, Error> {
        let options = parse(options, UnknownOptions::Refuse).unwrap();
        let file = ImageFile::open(image)?;
        Plan::new(image, &file.header()?, options).mount_at(&file, &self.path("mnt"), allowed)
    }

    pub(crate) fn umount(&self) {
        libcomposefs_mount::umount(&self.path("mnt"), false).unwrap();
    }

    pub(crate) fn read(&self, file: &str) -> std::io::Result<String> {
        fs::read_to_string(self.path("mnt").join(file))
    }

    /// Returns the kernel's line about the mount at `mnt`: flags of the mount, options of the file system.
    pub(crate) fn mountinfo(&self) -> String {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let path = self.path("mnt").canonicalize().unwrap();
        let at = format!(" {} ", path.display());
        mounts.lines().find(|line| line.contains(&at)).unwrap_or_default().to_owned()
    }

    /// What is left of the mounts of this place, and temporary mount points anywhere. Others may be mounting at
    /// this moment, and the kernel frees a loop device a little later: so it waits before it says something is left.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let left = self.present();
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn present(&self) -> Vec<String> {
        let here = self.dir.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut left: Vec<String> = mounts.lines().filter(|line| line.contains(&here)).map(str::to_owned).collect();
        for device in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let file = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
            if file.starts_with(&here) {
                left.push(format!("{}: {file}", device.path().display()));
            }
        }
        left.extend(temporary_mountpoints().difference(&self.before).map(|path| path.display().to_string()));
        left
    }

    /// The end of a test that went well.
    pub(crate) fn finish(self) {
        let left = self.leftovers();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        while unmount(&self.path("mnt"), true).is_ok() {}
    }
}

fn temporary_mountpoints() -> BTreeSet<PathBuf> {
    ["/run", "/tmp"]
        .into_iter()
        .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".composefs.")))
        .collect()
}

/// The features of this machine that the tests need.
pub(crate) struct Facts {
    release: String,
    /// The reason why nothing can be mounted at all.
    pub(crate) mountless: Option<String>,
    /// The method by which an image on the scratch file system is mounted if all kernel features may be used.
    best: Option<Mounted>,
    /// The reason why overlayfs cannot verify.
    pub(crate) no_overlay_verity: Option<String>,
    /// The reason why the scratch file system cannot verify.
    pub(crate) no_fs_verity: Option<String>,
}

impl Facts {
    pub(crate) fn find() -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        let mut facts = Self { release, mountless: None, best: None, no_overlay_verity: None, no_fs_verity: None };
        if let Err(reason) = facts.try_out() {
            facts.mountless = Some(reason);
        }
        facts
    }

    fn try_out(&mut self) -> Result<(), String> {
        if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) != 0) {
            return Err("mounting needs root".into());
        }
        let scratch = Scratch::new().map_err(|error| error.to_string())?;
        for (file_system, named) in [("overlay", "CONFIG_OVERLAY_FS"), ("erofs", "CONFIG_EROFS_FS")] {
            libcomposefs_sys::mount::FsContext::open(file_system)
                .map_err(|error| format!("the kernel lacks {named}: {error}"))?;
        }
        // Whatever fails from here on is for the tests to fail about.
        self.best = scratch.mount("", KernelFeatures::default()).ok();
        drop(scratch);
        let scratch = Scratch::new().map_err(|error| error.to_string())?;
        if let Err(error @ Error::NoOverlayVerity { .. }) = scratch.mount(",verity", KernelFeatures::default()) {
            self.no_overlay_verity = Some(error.to_string());
        }
        let object = fs::File::open(scratch.path("objects").join(OBJECT)).map_err(|error| error.to_string())?;
        self.no_fs_verity = match enable(&object, 1, 4096) {
            Ok(Enabled::Unsupported) => Some(format!("{} has no fs-verity", std::env::temp_dir().display())),
            Ok(_) => None,
            Err(error) => Some(format!("fs-verity: {error}")),
        };
        Ok(())
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel {}: ", self.release)?;
        match (&self.mountless, &self.best) {
            (Some(reason), _) => write!(f, "{reason}"),
            (None, Some(mounted)) => write!(f, "{mounted}"),
            (None, None) => write!(f, "an image cannot be mounted"),
        }
    }
}
