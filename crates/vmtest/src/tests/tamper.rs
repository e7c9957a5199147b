//! Changes on the disk itself, below the file system: what fs-verity is for.
//!
//! Each test makes an image and its objects, changes one block of the disk, empties the caches and reads through a
//! mount; an untouched twin must still be readable through the same mount.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use libcomposefs_image::{Algorithm, Digest, verity};
use rustix::io::Errno;

use crate::command;
use crate::context::Context;
use crate::disk;
use crate::kernel::Kernels;
use crate::kernel_log::KernelLog;

super::tests! {
    "tamper",
    Kernels::Since((6, 12)) => [
        data_block, merkle_block, descriptor, image_directory_block, image_superblock_block,
    ],
}

const DISK: &str = "vda";
const BLOCK: usize = 4096;
/// ext4 stores the Merkle tree after the data, from the next multiple of this offset.
const TREE_ALIGNMENT: usize = 65536;

/// An image with two objects and two directories, mounted.
struct Mounted {
    dir: PathBuf,
    image: PathBuf,
    digest: Digest,
}

/// The content of the file that is changed, and of its twin: three blocks each.
fn content(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(2 * BLOCK + 100).collect()
}

impl Mounted {
    /// Makes image and objects, all of them with fs-verity, and mounts them.
    fn new(context: &Context, name: &str) -> Result<Self> {
        let this = Self::made(context, name)?;
        this.mount(context)?.success()?;
        Ok(this)
    }

    fn made(context: &Context, name: &str) -> Result<Self> {
        Self::made_in(context.scratch(name)?)
    }

    fn made_in(dir: PathBuf) -> Result<Self> {
        let (tree, image) = (dir.join("tree"), dir.join("image"));
        fs::create_dir(dir.join("mnt"))?;
        fs::create_dir(&tree)?;
        for name in ["victim", "twin"] {
            fs::write(tree.join(name), content(name))?;
            // Enough long names that the entries fill a block of the image of their own.
            let full = tree.join(format!("{name}-directory"));
            fs::create_dir(&full)?;
            for n in 0..30 {
                fs::write(full.join(format!("{name}-entry-{n:02}-{}", "x".repeat(80))), "")?;
            }
        }
        let store = format!("--digest-store={}", dir.join("objects").display());
        let mut mkcomposefs = Command::new("mkcomposefs");
        mkcomposefs.args(["--print-digest", &store]).args([&tree, &image]);
        let digest = Digest::from_hex(command::run(&mut mkcomposefs)?.success()?.stdout.trim())?;
        command::run(Command::new("fsverity").arg("enable").arg(&image))?.success()?;
        Ok(Self { dir, image, digest })
    }

    fn mount(&self, context: &Context) -> Result<command::Ran> {
        let options = format!("basedir={},digest={}", self.dir.join("objects").display(), self.digest);
        let mut mount = context.composefs();
        mount.args(["mount", "-o", &options]).arg(&self.image).arg(self.dir.join("mnt"));
        command::run(&mut mount)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join("mnt").join(name)
    }

    fn object(&self, name: &str) -> PathBuf {
        self.dir.join("objects").join(verity::digest(Algorithm::Sha256, &content(name)).object_path())
    }

    /// Everything but the victim is as it was.
    fn twin_reads(&self) -> Result<()> {
        ensure!(fs::read(self.path("twin")).context("the twin")? == content("twin"));
        let entries = fs::read_dir(self.path("twin-directory")).context("the twin")?.count();
        ensure!(entries == 30, "{entries} entries");
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A test that failed left it mounted perhaps; what it says is worth more than this.
        let _ = rustix::mount::unmount(self.dir.join("mnt"), rustix::mount::UnmountFlags::DETACH);
    }
}

/// A block as the disk wants it in memory.
#[repr(align(4096))]
struct Block([u8; BLOCK]);

/// Changes a block of a file on the disk, its own or one after its end. `position` is the position within the file.
fn change(file: &Path, position: usize, at: impl Fn(&mut [u8; BLOCK]) -> Result<()>) -> Result<()> {
    rustix::fs::sync();
    change_below(Path::new(&format!("/dev/{DISK}")), fs::metadata(file)?.ino(), position, at)?;
    disk::drop_caches()
}

/// The same, on a disk that need not be mounted.
fn change_below(disk: &Path, inode: u64, position: usize, at: impl Fn(&mut [u8; BLOCK]) -> Result<()>) -> Result<()> {
    let request = format!("bmap <{inode}> {}", position / BLOCK);
    let debugfs = command::run(Command::new("debugfs").args(["-R", &request]).arg(disk))?.success()?;
    let number: u64 = debugfs.stdout.trim().parse().with_context(|| format!("odd answer: {debugfs:?}"))?;
    ensure!(number > 0, "inode {inode} has no block at {position}");
    // Past the caches: those of the file must go on holding what was there.
    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let device = File::options().read(true).write(true).custom_flags(direct).open(disk)?;
    let offset = number * BLOCK as u64;
    let mut block = Box::new(Block([0; BLOCK]));
    device.read_exact_at(&mut block.0, offset)?;
    at(&mut block.0).with_context(|| format!("block {number}, at {position} of inode {inode}"))?;
    device.write_all_at(&block.0, offset)?;
    device.sync_all()?;
    Ok(())
}

fn flip(block: &mut [u8; BLOCK]) -> Result<()> {
    block[17] ^= 1;
    Ok(())
}

/// Checks that reading failed with an I/O error.
fn expect_eio<T>(what: &str, result: std::io::Result<T>) -> Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(()),
        Err(error) => bail!("{what}: {error}, not EIO"),
        Ok(_) => bail!("{what}: it went well"),
    }
}

/// The kernel says no more than ten such lines in so much time, and the tests before this one may have had them all.
const QUIET: Duration = Duration::from_secs(5);

/// Does what should make the kernel say a line with all these words, once more if it kept silent.
fn kernel_says(words: &[&str], doing: impl Fn() -> Result<()>) -> Result<()> {
    let mut log = KernelLog::mark()?;
    let said = |lines: &[String]| lines.iter().any(|line| words.iter().all(|word| line.contains(word)));
    doing()?;
    let mut lines = log.since()?;
    if !said(&lines) {
        std::thread::sleep(QUIET);
        disk::drop_caches()?;
        doing()?;
        lines.extend(log.since()?);
    }
    ensure!(said(&lines), "the kernel did not say {words:?}, but {lines:#?}");
    Ok(())
}

fn corrupted(file: &Path) -> Result<String> {
    Ok(format!("fs-verity ({DISK}, inode {}): FILE CORRUPTED!", fs::metadata(file)?.ino()))
}

fn data_block(context: &Context) -> Result<()> {
    let mounted = Mounted::new(context, "data")?;
    let object = mounted.object("victim");
    ensure!(fs::read(mounted.path("victim"))? == content("victim"));
    change(&object, BLOCK, |block| {
        ensure!(block[..] == content("victim")[BLOCK..2 * BLOCK]);
        flip(block)
    })?;
    // It opens, its other blocks are there, and the one is not.
    let victim = File::open(mounted.path("victim"))?;
    let mut block = [0; 100];
    for position in [0, 2 * BLOCK] {
        victim.read_exact_at(&mut block, position as u64).with_context(|| format!("the block at {position}"))?;
        ensure!(block[..] == content("victim")[position..position + 100]);
    }
    kernel_says(&[&corrupted(&object)?, "pos=4096,", "level=-1,"], || {
        expect_eio("the block", victim.read_exact_at(&mut [0; 100], BLOCK as u64))
    })?;
    // Measuring reads no data, so it does not detect the change.
    ensure!(context.measure(&object)? == verity::digest(Algorithm::Sha256, &content("victim")));
    mounted.twin_reads()
}

/// Returns the offset of the file's Merkle tree.
fn tree_of(file: &Path) -> Result<usize> {
    Ok(usize::try_from(fs::metadata(file)?.len())?.next_multiple_of(TREE_ALIGNMENT))
}

fn merkle_block(context: &Context) -> Result<()> {
    let mounted = Mounted::new(context, "merkle")?;
    let object = mounted.object("victim");
    change(&object, tree_of(&object)?, |block| {
        // Three hashes, then zeros.
        ensure!(block[..96].iter().any(|byte| *byte != 0) && block[96..].iter().all(|byte| *byte == 0));
        flip(block)
    })?;
    let victim = File::open(mounted.path("victim"))?;
    kernel_says(&[&corrupted(&object)?, "level=0,"], || {
        let read = |block| victim.read_exact_at(&mut [0; 100], block as u64);
        [0, BLOCK, 2 * BLOCK].into_iter().try_for_each(|block| expect_eio("a block", read(block)))
    })?;
    ensure!(context.measure(&object)? == verity::digest(Algorithm::Sha256, &content("victim")));
    mounted.twin_reads()
}

/// A file system in a file.
struct Inner {
    file: PathBuf,
    at: PathBuf,
}

impl Inner {
    fn new(dir: &Path) -> Result<Self> {
        let (file, at) = (dir.join("disk"), dir.join("at"));
        File::create(&file)?.set_len(64 << 20)?;
        fs::create_dir(&at)?;
        let mut mke2fs = Command::new("mke2fs");
        mke2fs.args(["-q", "-F", "-t", "ext4", "-b", "4096", "-O", "verity,^has_journal"]).arg(&file);
        command::run(&mut mke2fs)?.success()?;
        let inner = Self { file, at };
        inner.mount()?;
        Ok(inner)
    }

    fn mount(&self) -> Result<()> {
        command::run(Command::new("mount").args(["-o", "loop"]).args([&self.file, &self.at]))?.success()?;
        Ok(())
    }

    fn unmount(&self) -> Result<()> {
        command::run(Command::new("umount").arg(&self.at))?.success()?;
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.at, rustix::mount::UnmountFlags::DETACH);
    }
}

fn descriptor(context: &Context) -> Result<()> {
    // An inode in memory keeps its digest, and the newest kernels keep the inode whatever caches are dropped. So the
    // file system is one that can be unmounted in between.
    let inner = Inner::new(&context.scratch("descriptor")?)?;
    let dir = inner.at.join("dir");
    fs::create_dir(&dir)?;
    let mounted = Mounted::made_in(dir)?;
    let object = mounted.object("victim");
    let digest = verity::digest(Algorithm::Sha256, &content("victim"));
    let (inode, position) = (fs::metadata(&object)?.ino(), tree_of(&object)? + BLOCK);
    inner.unmount()?;
    // Behind the one block of hashes. The root hash is at 16.
    change_below(&inner.file, inode, position, |block| {
        let len = content("victim").len() as u64;
        ensure!(block[..4] == [1, 1, 12, 0] && block[8..16] == len.to_le_bytes(), "no descriptor: {:?}", &block[..16]);
        flip(block)
    })?;
    inner.mount()?;
    mounted.mount(context)?.success()?;
    ensure!(fs::symlink_metadata(mounted.path("victim"))?.len() == content("victim").len() as u64);
    kernel_says(&["overlayfs: lower file", "has the wrong fs-verity digest"], || {
        expect_eio("opening", File::open(mounted.path("victim")))
    })?;
    // The kernel now believes another digest, and finds that the hashes do not give it.
    ensure!(context.measure(&object)? != digest);
    let words = ["fs-verity (loop", &format!("inode {inode}): FILE CORRUPTED!"), "level=0,"];
    kernel_says(&words, || expect_eio("the object itself", fs::read(&object)))?;
    mounted.twin_reads()
}

fn image_directory_block(context: &Context) -> Result<()> {
    let mounted = Mounted::made(context, "directory")?;
    let image = fs::read(&mounted.image)?;
    let find = |name: &[u8]| image.windows(name.len()).position(|window| window == name);
    let [victim, twin] = [&b"victim-entry-00"[..], b"twin-entry-00"].map(find).map(|at| at.map(|at| at / BLOCK));
    ensure!(victim.is_some() && twin.is_some() && victim != twin, "blocks {victim:?} and {twin:?}");
    let position = victim.unwrap_or_default() * BLOCK;
    change(&mounted.image, position, |block| {
        ensure!(block[..] == image[position..position + BLOCK]);
        flip(block)
    })?;
    // The digest is the file's still, so it is mounted.
    mounted.mount(context)?.success()?;
    let entry = image[..].windows(15).find(|window| *window == b"victim-entry-00").context("an entry")?;
    let entry = format!("{}-{}", String::from_utf8_lossy(entry), "x".repeat(80));
    kernel_says(&[&corrupted(&mounted.image)?, &format!("pos={position},"), "level=-1,"], || {
        expect_eio("a lookup", fs::symlink_metadata(mounted.path("victim-directory").join(&entry)))
    })?;
    let listed =
        fs::read_dir(mounted.path("victim-directory")).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    expect_eio("listing", listed)?;
    // The object and the other directory have nothing to do with that block.
    ensure!(fs::read(mounted.path("victim"))? == content("victim"));
    mounted.twin_reads()
}

fn image_superblock_block(context: &Context) -> Result<()> {
    let (mounted, twin) = (Mounted::made(context, "superblock")?, Mounted::made(context, "superblock-twin")?);
    // A byte after the composefs header, which is read before anything is mounted.
    change(&mounted.image, 0, |block| {
        ensure!(block[1024..1028] == 0xE0F5_E1E2u32.to_le_bytes(), "no superblock");
        block[1024 + 80] ^= 1;
        Ok(())
    })?;
    kernel_says(&[&corrupted(&mounted.image)?, "pos=0,"], || {
        mounted.mount(context)?.exited(1)?.says("Input/output error").map(drop)
    })?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let left = mounts.lines().find(|line| line.contains(&*mounted.dir.to_string_lossy()));
    ensure!(left.is_none(), "left mounted: {left:?}");
    twin.mount(context)?.success()?;
    twin.twin_reads()
}
