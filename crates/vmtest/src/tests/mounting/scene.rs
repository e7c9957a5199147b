//! The fixture of a mount test: a directory with a tree, its image and its objects, and a check that nothing is left.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use libcomposefs_image::{Algorithm, verity};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::command::{self, Ran};
use crate::context::Context;
use crate::kernel_log::KernelLog;

/// The time that the kernel may take to release a loop device.
const PATIENCE: Duration = Duration::from_secs(5);
/// In this time the kernel writes at most ten lines from one place of its source (`include/linux/ratelimit_types.h`).
const RATE_LIMIT: Duration = Duration::from_secs(5);

/// A directory to build and mount in. Its mounts go away with it.
pub(super) struct Scene {
    dir: PathBuf,
    before: BTreeSet<String>,
}

impl Scene {
    /// An empty one, but for the mount points `mnt` and `other`.
    pub(super) fn empty(context: &Context, name: &str) -> Result<Self> {
        let scene = Self { dir: context.scratch(name)?, before: traces()? };
        for sub in ["mnt", "other", "rootfs"] {
            fs::create_dir(scene.path(sub))?;
        }
        Ok(scene)
    }

    /// One with `rootfs.img` of a few files (see [`content`]) that are all in the store `objects`.
    pub(super) fn stored(context: &Context, name: &str) -> Result<Self> {
        let scene = Self::empty(context, name)?;
        fs::create_dir(scene.path("rootfs/dir"))?;
        for file in ["file_a", "file_b", "twin", "dir/nested"] {
            fs::write(scene.path("rootfs").join(file), content(file))?;
        }
        scene.sh("mkcomposefs --digest-store=objects rootfs rootfs.img")?.success()?;
        Ok(scene)
    }

    pub(super) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    /// The object of some content, by the name it has in the store.
    pub(super) fn object(&self, content: impl AsRef<[u8]>) -> PathBuf {
        self.path(object_name(Algorithm::Sha256, content))
    }

    /// Runs a line of shell here.
    pub(super) fn sh(&self, line: &str) -> Result<Ran> {
        command::run(Command::new("sh").arg("-c").arg(line).current_dir(&self.dir))
    }

    /// Mounts `rootfs.img` at `mnt`, by mount(8).
    pub(super) fn mount(&self, options: &str) -> Result<()> {
        self.mount_at(options, "mnt")
    }

    /// Mounts `rootfs.img` at another directory.
    pub(super) fn mount_at(&self, options: &str, target: &str) -> Result<()> {
        self.sh(&format!("mount -t composefs rootfs.img -o {options} {target}"))?.success()?;
        Ok(())
    }

    /// Checks that mounting `rootfs.img` fails with a message that contains these words, and leaves nothing.
    pub(super) fn mount_refused(&self, options: &str, words: &[&str]) -> Result<()> {
        self.refused(&format!("mount -t composefs rootfs.img -o {options} mnt"), words)
    }

    /// Checks that a line of shell fails with a message that contains these words, and leaves nothing.
    pub(super) fn refused(&self, line: &str, words: &[&str]) -> Result<()> {
        let before = traces()?;
        let mut ran = self.sh(line)?;
        ensure!(ran.status != Some(0), "{line}: it was not refused");
        for word in words {
            ran = ran.says(word)?;
        }
        same_traces(&before).with_context(|| format!("after {line}"))
    }

    pub(super) fn umount(&self, target: &str) -> Result<()> {
        self.sh(&format!("umount {target}"))?.success()?;
        Ok(())
    }

    /// A file is read and has this content.
    pub(super) fn reads(&self, file: &str, expected: impl AsRef<[u8]>) -> Result<()> {
        let read = fs::read(self.path(file)).with_context(|| format!("cannot read {file}"))?;
        ensure!(read == expected.as_ref(), "{file} reads {:?}", String::from_utf8_lossy(&read));
        Ok(())
    }

    /// A file has metadata but cannot be opened, and the kernel's log says why.
    pub(super) fn fails(&self, file: &str, errno: Errno, line: &str) -> Result<()> {
        let path = self.path(file);
        fs::metadata(&path).with_context(|| format!("no metadata of {file}"))?;
        // A second time if the line may have fallen to the rate limit.
        let mut seen = Vec::new();
        for wait in [RATE_LIMIT, Duration::ZERO] {
            let mut log = KernelLog::mark()?;
            match File::open(&path) {
                Err(error) if Errno::from_io_error(&error) == Some(errno) => {}
                opened => bail!("opening {file} should give {errno:?}, but: {opened:?}"),
            }
            seen = log.since()?;
            if seen.iter().any(|message| message.contains(line)) {
                return Ok(());
            }
            std::thread::sleep(wait);
        }
        bail!("opening {file} gave {errno:?}, but the kernel's log has no {line:?}: {seen:#?}")
    }

    /// The kernel's line for what is mounted at `target`, the topmost if there are several.
    pub(super) fn mountinfo(&self, target: &str) -> Result<String> {
        let at = self.path(target);
        let line = mountinfo()?.into_iter().rev().find(|line| mountpoint(line) == Some(&at));
        line.with_context(|| format!("nothing is mounted at {target}"))
    }

    /// The words of the last option of that name of a mount's file system.
    pub(super) fn overlay_option(&self, target: &str, name: &str) -> Result<Option<String>> {
        let line = self.mountinfo(target)?;
        let options = line.split(' ').next_back().unwrap_or_default();
        let value = options.split(',').rev().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
        Ok(value.map(str::to_owned))
    }

    /// Unmounts what is mounted, then nothing may be left of this scene.
    pub(super) fn finish(self) -> Result<()> {
        for line in mountinfo()?.iter().rev().filter(|line| self.is_ours(line)) {
            let at = mountpoint(line).context("a mount without a place")?;
            rustix::mount::unmount(at, UnmountFlags::empty()).with_context(|| format!("cannot unmount {line}"))?;
        }
        same_traces(&self.before)
    }

    fn is_ours(&self, line: &str) -> bool {
        mountpoint(line).is_some_and(|at| at.starts_with(&self.dir))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let mounts = mountinfo().unwrap_or_default();
        for at in mounts.iter().rev().filter(|line| self.is_ours(line)).filter_map(|line| mountpoint(line)) {
            let _ = rustix::mount::unmount(at, UnmountFlags::DETACH);
        }
    }
}

/// Returns the content of the file of that name in [`Scene::stored`]: too much to be kept in the image.
pub(super) fn content(name: &str) -> String {
    format!("{name}\n").repeat(40)
}

/// Returns the path of the object of some content in a scene.
pub(super) fn object_name(algorithm: Algorithm, content: impl AsRef<[u8]>) -> String {
    let hex = verity::digest(algorithm, content.as_ref()).to_hex();
    format!("objects/{}/{}", &hex[..2], &hex[2..])
}

fn mountinfo() -> Result<Vec<String>> {
    Ok(fs::read_to_string("/proc/self/mountinfo")?.lines().map(str::to_owned).collect())
}

fn mountpoint(line: &str) -> Option<&Path> {
    line.split(' ').nth(4).map(Path::new)
}

/// Everything a mount can leave on the system: mounts, loop devices in use, temporary directories.
fn traces() -> Result<BTreeSet<String>> {
    let mut traces: BTreeSet<String> = mountinfo()?.into_iter().collect();
    for device in fs::read_dir("/sys/block")? {
        if let Ok(file) = fs::read_to_string(device?.path().join("loop/backing_file")) {
            traces.insert(format!("a loop device for {}", file.trim_end()));
        }
    }
    for dir in ["/run", "/tmp"] {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            // libmount's own.
            if path != Path::new("/run/mount") {
                traces.insert(path.display().to_string());
            }
        }
    }
    Ok(traces)
}

fn same_traces(before: &BTreeSet<String>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = traces()?;
        if now == *before {
            return Ok(());
        }
        let left: Vec<_> = now.difference(before).collect();
        let gone: Vec<_> = before.difference(&now).collect();
        ensure!(Instant::now() < deadline, "left behind: {left:#?}; gone: {gone:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
