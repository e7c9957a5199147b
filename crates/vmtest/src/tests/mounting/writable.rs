//! A writable layer over an image: changes go there, the image and its objects stay as they are.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::io::Errno;

use super::VERIFYING;
use super::scene::{Scene, content};
use crate::context::Context;
use crate::kernel_log::KernelLog;

crate::tests::tests! {
    "writable",
    crate::kernel::Kernels::All => [changes_go_to_the_upper_layer, without_an_upper_layer_it_is_read_only],
    super::VERIFYING => [nothing_unverified_is_copied_up],
}

/// `verity` where the kernel can.
fn options(context: &Context, more: &str) -> String {
    format!("basedir=objects{}{more}", if VERIFYING.include(context.kernel) { ",verity" } else { "" })
}

fn changes_go_to_the_upper_layer(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "writable")?;
    scene.sh("mkdir upper work")?.success()?;
    let writable = options(context, ",rw,upperdir=upper,workdir=work");
    scene.mount(&writable)?;
    scene.mount_at(&options(context, ""), "other")?;
    let image = listing(&scene.path("other"))?;
    let objects = listing(&scene.path("objects"))?;
    ensure!(listing(&scene.path("mnt"))? == image, "it differs before anything was changed");

    // New files and directories.
    fs::write(scene.path("mnt/new"), "new\n")?;
    fs::create_dir(scene.path("mnt/newdir"))?;
    // Content: the whole file is copied.
    File::options().append(true).open(scene.path("mnt/file_a"))?.write_all(b"more\n")?;
    ensure!(fs::read_to_string(scene.path("upper/file_a"))? == content("file_a") + "more\n");
    // Metadata: only an inode is.
    fs::set_permissions(scene.path("mnt/file_b"), PermissionsExt::from_mode(0o600))?;
    let copied = fs::read(scene.path("upper/file_b"))?;
    ensure!(copied == vec![0; content("file_b").len()], "the content was copied too");
    scene.sh("getfattr --name=trusted.overlay.metacopy upper/file_b")?.success()?;
    // Deletion: a whiteout.
    fs::remove_file(scene.path("mnt/twin"))?;
    let whiteout = fs::metadata(scene.path("upper/twin"))?;
    ensure!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0, "no whiteout: {whiteout:?}");
    // Renaming: of a directory of the image, and out of it.
    fs::rename(scene.path("mnt/dir"), scene.path("mnt/newdir/moved"))?;
    fs::rename(scene.path("mnt/newdir/moved/nested"), scene.path("mnt/nested"))?;

    let changed = listing(&scene.path("mnt"))?;
    let names: Vec<_> = changed.keys().filter_map(|path| path.to_str()).collect();
    ensure!(names == ["", "file_a", "file_b", "nested", "new", "newdir", "newdir/moved"], "{names:?}");
    ensure!(changed[Path::new("file_a")].1 == content("file_a") + "more\n");
    ensure!(changed[Path::new("file_b")].1 == content("file_b") && changed[Path::new("file_b")].0.contains("100600"));
    ensure!(changed[Path::new("nested")] == image[Path::new("dir/nested")], "renaming changed the file");
    // It is all there again after the next mount.
    scene.umount("mnt")?;
    scene.mount(&writable)?;
    ensure!(listing(&scene.path("mnt"))? == changed, "it differs after the next mount");
    // And nothing of it in what was mounted read-only, now or anew, nor in the store.
    ensure!(listing(&scene.path("other"))? == image, "the image changed");
    scene.umount("other")?;
    scene.mount_at(&options(context, ""), "other")?;
    ensure!(listing(&scene.path("other"))? == image, "the image changed");
    ensure!(listing(&scene.path("objects"))? == objects, "the objects changed");
    scene.finish()
}

fn without_an_upper_layer_it_is_read_only(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "read-only")?;
    scene.sh("mkdir upper work")?.success()?;
    for (more, target) in [(",rw", "mnt"), (",ro,upperdir=upper,workdir=work", "other")] {
        scene.mount_at(&options(context, more), target)?;
        for (what, done) in [
            ("write", File::options().write(true).open(scene.path(target).join("file_a")).map(drop)),
            ("create", File::create(scene.path(target).join("new")).map(drop)),
            ("remove", fs::remove_file(scene.path(target).join("twin"))),
            ("chmod", fs::set_permissions(scene.path(target).join("twin"), PermissionsExt::from_mode(0o600))),
        ] {
            match done {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::ROFS) => {}
                other => bail!("{what} with {more} should give EROFS, but: {other:?}"),
            }
        }
        scene.reads(&format!("{target}/twin"), content("twin"))?;
    }
    scene.umount("other")?;
    scene.mount_at(&options(context, ",upperdir=upper,workdir=work"), "other")?;
    fs::remove_file(scene.path("other/twin"))?;
    scene.refused(
        "mount -t composefs rootfs.img -o basedir=objects,upperdir=upper mnt",
        &["Both workdir and upperdir must be specified if used"],
    )?;
    scene.finish()
}

/// A file that is written is first copied from its object, and so verified.
fn nothing_unverified_is_copied_up(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "copy-up")?;
    scene.sh("mkdir upper work")?.success()?;
    let object = scene.object(content("file_a"));
    fs::remove_file(&object)?;
    fs::write(&object, content("file_a"))?;
    scene.mount(&options(context, ",upperdir=upper,workdir=work"))?;
    let mut log = KernelLog::mark()?;
    match File::options().append(true).open(scene.path("mnt/file_a")) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::IO) => {}
        opened => bail!("opening it to write should give EIO, but: {opened:?}"),
    }
    let messages = log.since()?;
    ensure!(messages.iter().any(|line| line.contains("has no fs-verity digest")), "{messages:#?}");
    ensure!(!scene.path("upper/file_a").exists(), "it was copied");
    File::options().append(true).open(scene.path("mnt/twin"))?.write_all(b"more\n")?;
    scene.reads("upper/twin", content("twin") + "more\n")?;
    scene.finish()
}

type Listing = BTreeMap<PathBuf, (String, String)>;

/// Every name with its metadata and content.
fn listing(dir: &Path) -> Result<Listing> {
    let mut listing = Listing::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).with_context(|| format!("cannot stat {}", path.display()))?;
        let size = if meta.is_dir() { 0 } else { meta.size() };
        let time = (meta.mtime(), meta.mtime_nsec());
        let data = if meta.is_file() { fs::read_to_string(&path)? } else { String::new() };
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                ensure!(entry.file_name() != OsStr::new("lost+found"));
                open.push(entry.path());
            }
        }
        let text = format!("{:o} {}:{} {size} {time:?}", meta.mode(), meta.uid(), meta.gid());
        // The root is that of the writable layer, if there is one.
        let text = if path == dir { String::new() } else { text };
        listing.insert(path.strip_prefix(dir)?.to_owned(), (text, data));
    }
    Ok(listing)
}
