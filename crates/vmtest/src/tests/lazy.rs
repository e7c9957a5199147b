//! Lazy mounts of a repository that demands fs-verity, from a directory remote: by overlayfs with `verity=require`
//! where the kernel joins layers that are attached nowhere, by an image server elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use libcomposefs_image::{Algorithm, Digest, verity};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::command::{self, Ran};
use crate::context::Context;
use crate::disk;
use crate::kernel::Kernels;

super::tests! { "lazy",
    Kernels::Since((6, 15)) => [
        the_kernel_verifies_what_arrives, a_worker_that_is_killed_costs_no_error, the_limit_of_the_kernel_is_heeded,
    ],
    Kernels::Before((6, 15)) => [an_older_kernel_takes_an_image_server],
}

/// Length of the files: some blocks, too long to share a frame.
const LEN: usize = 70_000;
/// Number of files: one more than readers that wait for a worker.
const FILES: usize = 8;
/// The longest time that anything here may take.
const LONG: Duration = Duration::from_secs(60);

/// A remote, an empty repository that demands fs-verity, and a mount point.
struct LazyScene {
    dir: PathBuf,
    program: PathBuf,
}

impl LazyScene {
    fn new(context: &Context, name: &str) -> Result<Self> {
        // Where it is a module, its device is not there before; elsewhere this fails.
        command::run(Command::new("modprobe").arg("fuse"))?;
        let place = Self { dir: context.scratch(name)?, program: context.composefs().get_program().into() };
        for name in ["tree", "mnt"] {
            fs::create_dir(place.dir.join(name))?;
        }
        for number in 0..FILES {
            fs::write(place.dir.join(format!("tree/f{number}")), content(number))?;
        }
        place.composefs(&["--repo=built", "init", "--insecure"])?.success()?;
        place.composefs(&["--repo=built", "create", "tree", "--name=tree"])?.success()?;
        place.composefs(&["--repo=built", "push", "tree", "./remote"])?.success()?;
        place.composefs(&["--repo=repo", "init"])?.success()?;
        Ok(place)
    }

    fn composefs(&self, args: &[&str]) -> Result<Ran> {
        command::run(Command::new(&self.program).args(args).current_dir(&self.dir))
    }

    /// Mounts, and returns what the program says about the mount.
    fn mount(&self, more: &[&str]) -> Result<String> {
        let args = ["--repo=repo", "mount", "--lazy=./remote", "tree", "mnt", "--json"];
        Ok(self.composefs(&[&args, more].concat())?.success()?.stdout)
    }

    /// Reads a file in a thread of its own.
    fn read(&self, number: usize) -> JoinHandle<std::io::Result<Vec<u8>>> {
        let file = self.dir.join(format!("mnt/f{number}"));
        spawn(move || fs::read(file))
    }

    fn reads_well(&self, number: usize) -> Result<()> {
        let found = finished(self.read(number))?.with_context(|| format!("f{number}"))?;
        ensure!(found == content(number), "f{number} has another content");
        Ok(())
    }

    fn gives_eio(&self, number: usize) -> Result<()> {
        let found = finished(self.read(number))?.map(|content| content.len());
        let errno = found.as_ref().err().and_then(Errno::from_io_error);
        ensure!(errno == Some(Errno::IO), "f{number}: {found:?}");
        Ok(())
    }

    fn object(&self, number: usize) -> PathBuf {
        self.dir.join("repo/objects").join(digest(number).object_path())
    }

    /// Damages the frame of a file in the packs of the remote. The file is noise, so that it is stored as it is.
    fn damage(&self, number: usize) -> Result<()> {
        let content = content(number);
        let part = &content[5000..5064];
        for pack in files_below(&self.dir.join("remote/packs"))? {
            let mut bytes = fs::read(&pack)?;
            if let Some(position) = bytes.windows(part.len()).position(|window| window == part) {
                bytes[position] ^= 1;
                fs::set_permissions(&pack, fs::Permissions::from_mode(0o644))?;
                fs::write(&pack, bytes)?;
                return Ok(());
            }
        }
        bail!("no pack has the content of f{number}")
    }

    /// Returns the holder and the worker, when both run.
    fn holder_and_worker(&self) -> Result<(Pid, Pid)> {
        let begun = Instant::now();
        loop {
            let all = servers()?;
            let found =
                all.iter().find_map(|(worker, parent)| Some((all.iter().find(|(pid, _)| pid == parent)?.0, *worker)));
            if let Some(found) = found {
                return Ok(found);
            }
            ensure!(begun.elapsed() < LONG, "no worker among {all:?}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Unmounts, and waits for the end of all processes that serve the mount.
    fn unmount(&self) -> Result<()> {
        self.composefs(&["umount", "mnt"])?.success()?;
        let begun = Instant::now();
        while !servers()?.is_empty() {
            ensure!(begun.elapsed() < LONG, "{:?} still run", servers()?);
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for LazyScene {
    fn drop(&mut self) {
        // After a test that failed.
        let _ = rustix::mount::unmount(self.dir.join("mnt"), UnmountFlags::DETACH);
        for (server, _) in servers().unwrap_or_default() {
            let _ = kill_process(server, Signal::KILL);
        }
    }
}

/// Returns the content of a file: noise, which is not compressed.
fn content(number: usize) -> Vec<u8> {
    let mut state = 1 + number as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..LEN + number).map(|_| (next() >> 32) as u8).collect()
}

fn digest(number: usize) -> Digest {
    verity::digest(Algorithm::Sha256, &content(number))
}

fn finished<T>(thread: JoinHandle<T>) -> Result<T> {
    let begun = Instant::now();
    while !thread.is_finished() {
        ensure!(begun.elapsed() < LONG, "a reader got no answer");
        sleep(Duration::from_millis(5));
    }
    thread.join().ok().context("a thread panicked")
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files_below(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

/// Returns the processes that serve lazy mounts, each with its parent.
fn servers() -> Result<Vec<(Pid, Pid)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(|name| name.to_str()?.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let line = fs::read(path.join("cmdline")).unwrap_or_default();
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
        let (state, parent) = (fields.next(), fields.next().and_then(|parent| Pid::from_raw(parent.parse().ok()?)));
        let is_server = line.split(|byte| *byte == 0).any(|word| word.starts_with(b"--lazy="));
        if let (true, Some(parent)) = (is_server && state != Some("Z"), parent) {
            found.push((pid, parent));
        }
    }
    Ok(found)
}

fn expect(told: &str, texts: &[&str]) -> Result<()> {
    texts.iter().try_for_each(|text| {
        ensure!(told.contains(text), "no {text} in {told}");
        Ok(())
    })
}

fn the_kernel_verifies_what_arrives(context: &Context) -> Result<()> {
    let place = LazyScene::new(context, "lazy")?;
    expect(&place.mount(&["--timeout=5"])?, &["\"via\": \"overlay\"", "\"verified_by\": \"kernel\""])?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(mounts.contains("verity=require"), "{mounts}");
    ensure!(!place.object(0).exists(), "an object is here before its file was read");
    place.reads_well(0)?;
    let measured = context.measure(&place.object(0))?;
    ensure!(measured == digest(0), "the object that arrived has {measured}");

    // The remote lies about one file.
    place.damage(1)?;
    place.gives_eio(1)?;
    ensure!(!place.object(1).exists(), "a damaged object was stored");
    place.reads_well(2)?;
    place.composefs(&["--repo=repo", "fsck"])?.success()?;

    // The kernel reads no object whose digest is another one. The twin was not read before either.
    for number in [3, 4] {
        let object = place.object(number);
        fs::create_dir_all(object.parent().context("no directory")?)?;
        fs::write(&object, content(if number == 3 { 5 } else { number }))?;
        command::run(Command::new("fsverity").arg("enable").arg(&object))?.success()?;
    }
    disk::drop_caches()?;
    place.gives_eio(3)?;
    place.reads_well(4)?;
    place.reads_well(0)?;
    place.unmount()
}

fn a_worker_that_is_killed_costs_no_error(context: &Context) -> Result<()> {
    let place = LazyScene::new(context, "killed")?;
    place.mount(&["--timeout=5"])?;
    let mut waited = 0;
    for number in 0..FILES {
        let (holder, worker) = place.holder_and_worker()?;
        // Half of them before the worker has seen the lookup, the others while it may fetch.
        let is_stopped = number % 2 == 0;
        if is_stopped {
            kill_process(worker, Signal::STOP)?;
        }
        let reader = place.read(number);
        sleep(Duration::from_millis(if is_stopped { 100 } else { 3 * number as u64 }));
        waited += usize::from(!reader.is_finished());
        kill_process(worker, Signal::KILL)?;
        let found = finished(reader)?.with_context(|| format!("f{number}, whose worker was killed"))?;
        ensure!(found == content(number), "f{number} has another content");
        ensure!(context.measure(&place.object(number))? == digest(number));
        let begun = Instant::now();
        while place.holder_and_worker()?.1 == worker {
            ensure!(begun.elapsed() < LONG, "no other worker");
        }
        ensure!(place.holder_and_worker()?.0 == holder, "the holder has ended");
    }
    ensure!(waited >= FILES / 2, "only {waited} readers waited for a worker that was killed");
    let status = place.composefs(&["status", "mnt", "--json"])?.success()?.stdout;
    expect(&status, &[&format!("\"restarts\": {FILES}"), "\"last_end\": \"signal 9\"", "\"missing\": 0"])?;
    place.unmount()
}

fn the_limit_of_the_kernel_is_heeded(context: &Context) -> Result<()> {
    let place = LazyScene::new(context, "limit")?;
    let doctor = |text: &str| expect(&command::run(context.composefs().args(["doctor", "/mnt"]))?.stdout, &[text]);
    doctor("ok       lazy mounts: overlayfs looks into the next layer")?;
    let record = fs::read_to_string("/run/composefs/self-test/lazy-layers")?;
    expect(&record, &["\"works\":true", fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim()])?;
    let limit = Path::new("/proc/sys/fs/fuse/max_request_timeout");
    let before = fs::read_to_string(limit)?;
    fs::write(limit, "4")?;
    let seen = (|| {
        doctor("warning  lazy mounts: fs.fuse.max_request_timeout is 4")?;
        let refused = place.composefs(&["--repo=repo", "mount", "--lazy=./remote", "tree", "mnt"])?.exited(1)?;
        refused.says("does not answer within 4 s (fs.fuse.max_request_timeout)")?.says("or use --timeout=3")?;
        place.mount(&["--timeout=3"])?;
        place.reads_well(0)?;
        place.unmount()
    })();
    fs::write(limit, before.trim())?;
    seen
}

fn an_older_kernel_takes_an_image_server(context: &Context) -> Result<()> {
    let place = LazyScene::new(context, "lazy")?;
    let told =
        place.composefs(&["--repo=repo", "mount", "--lazy=./remote", "tree", "mnt", "--via=overlay"])?.exited(1)?;
    let told = told.says("which needs Linux 6.15")?.says("use --via=fuse")?;
    ensure!(!told.stderr.contains("panicked"), "{}", told.stderr);
    expect(&place.mount(&["--timeout=5"])?, &["\"via\": \"fuse\"", "\"verified_by\": \"server\""])?;
    ensure!(!place.object(0).exists(), "an object is here before its file was read");
    place.reads_well(0)?;
    ensure!(context.measure(&place.object(0))? == digest(0));
    place.damage(1)?;
    place.gives_eio(1)?;
    ensure!(!place.object(1).exists(), "a damaged object was stored");
    place.reads_well(2)?;
    place.composefs(&["fill", "mnt", "--wait"])?.exited(1)?;
    place.unmount()
}
