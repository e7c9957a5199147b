//! A repository that demands fs-verity, and disks that the host cannot have.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::command::{self, Ran};
use crate::context::Context;
use crate::disk::drop_caches;
use crate::kernel::Kernels;

super::tests! { "repository",
    Kernels::Since((6, 6)) => [
        mounts_are_verified,
        options_of_a_mount_only_strengthen_it,
        sparse_files_are_sealed_with_their_holes,
        refused_requests_of_fs_verity_refuse_where_it_is_demanded,
        what_another_namespace_has_mounted_stays,
    ],
    Kernels::All => [
        lost_fs_verity_is_found_and_put_back,
        a_hard_link_is_sealed_as_a_copy,
        data_the_disk_has_lost_is_replaced,
        a_disk_that_fails_is_told,
        a_quota_is_a_full_disk,
        fat_is_refused,
    ],
}

/// A directory with a tree in it.
struct Scene<'c> {
    context: &'c Context,
    dir: PathBuf,
}

impl<'c> Scene<'c> {
    fn new(context: &'c Context) -> Result<Self> {
        let scene = Self { context, dir: context.scratch("repository")? };
        fs::create_dir(scene.dir.join("tree"))?;
        fs::create_dir(scene.dir.join("mnt"))?;
        for file in 0..6u32 {
            let bytes: Vec<u8> = (0..5000 + file * 9000).map(|i| (i.wrapping_mul(file * 2 + 3) >> 4) as u8).collect();
            fs::write(scene.dir.join(format!("tree/{file}")), bytes)?;
        }
        Ok(scene)
    }

    fn composefs(&self, words: &str) -> Result<Ran> {
        command::run(self.context.composefs().args(words.split(' ')).current_dir(&self.dir))
    }

    fn run(&self, words: &str) -> Result<Ran> {
        let mut words = words.split(' ');
        let mut program = Command::new(words.next().unwrap_or_default());
        command::run(program.args(words).current_dir(&self.dir))?.success()
    }

    /// A disk of its own in a file, as a loop device.
    fn disk(&self, megabytes: u64) -> Result<Loop> {
        let file = self.dir.join("disk");
        fs::File::create(&file)?.set_len(megabytes << 20)?;
        let device = self.run(&format!("losetup --find --show {}", file.display()))?.stdout.trim().to_owned();
        fs::create_dir(self.dir.join("fs"))?;
        Ok(Loop { device })
    }

    fn object_of(&self, repository: &str, file: u32) -> Result<PathBuf> {
        let digest = self.context_digest(&self.dir.join(format!("tree/{file}")))?;
        Ok(self.dir.join(repository).join("objects").join(&digest[..2]).join(&digest[2..]))
    }

    fn context_digest(&self, file: &Path) -> Result<String> {
        let said = self.run(&format!("fsverity digest --compact {}", file.display()))?.stdout;
        Ok(said.trim().to_owned())
    }
}

/// A loop device, detached at the end.
struct Loop {
    device: String,
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.device).status();
    }
}

fn mounts_are_verified(context: &Context) -> Result<()> {
    let scene = Scene::new(context)?;
    scene.composefs("--repo r init")?.success()?;
    let digest = scene.composefs("--repo r create tree --name image")?.success()?.stdout.trim().to_owned();
    context.measure(&scene.dir.join("r/meta.json")).context("meta.json is not sealed")?;
    for file in 0..6 {
        context.measure(&scene.object_of("r", file)?).context("an object is not sealed")?;
    }
    scene.composefs("--repo r mount image mnt")?.success()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let line = mounts.lines().find(|line| line.contains(&digest)).context("the mount does not say its image")?;
    ensure!(line.contains("verity=require"), "{line}");
    let listed = scene.composefs("--repo r mounts")?.success()?.stdout;
    ensure!(listed.contains(&digest) && listed.contains("image"), "{listed}");
    for file in 0..6 {
        ensure!(fs::read(scene.dir.join(format!("mnt/{file}")))? == fs::read(scene.dir.join(format!("tree/{file}")))?);
    }
    scene.composefs("umount mnt")?.success()?;
    // Another process replaces an object by another file: reading it fails, and all other files can be read.
    let object = scene.object_of("r", 3)?;
    let kept = scene.dir.join("kept");
    fs::rename(&object, &kept)?;
    fs::write(&object, "something else")?;
    drop_caches()?;
    scene.composefs("--repo r mount image mnt")?.success()?;
    ensure!(fs::read(scene.dir.join("mnt/2"))?.len() == 23_000, "another file");
    let error = fs::read(scene.dir.join("mnt/3")).err().context("something else was read")?;
    ensure!(error.raw_os_error() == Some(libc_eio()), "{error}");
    scene.composefs("umount mnt")?.success()?;
    fs::rename(&kept, &object)?;
    // The image itself: refused before anything is mounted.
    let image = scene.dir.join("r/objects").join(&digest[..2]).join(&digest[2..]);
    let bytes = fs::read(&image)?;
    fs::rename(&image, &kept)?;
    fs::write(&image, bytes)?;
    scene.composefs("--repo r mount image mnt")?.exited(1)?.says("no fs-verity")?;
    fs::rename(&kept, &image)?;
    scene.composefs("--repo r mount image mnt")?.success()?;
    scene.composefs("umount mnt")?.success()?;
    Ok(())
}

/// A sandbox refuses the requests of fs-verity: that is an error, with its cause, where fs-verity is demanded.
fn refused_requests_of_fs_verity_refuse_where_it_is_demanded(context: &Context) -> Result<()> {
    let scene = Scene::new(context)?;
    for (repository, init) in [("sealed", ""), ("unsealed", " --insecure")] {
        scene.composefs(&format!("--repo {repository} init{init}"))?.success()?;
        for (error, cause) in [("EPERM", "require_signatures"), ("EACCES", "SELinux"), ("ENOSYS", "seccomp")] {
            fs::write(scene.dir.join("tree/new"), format!("{repository} {error} ").repeat(300))?;
            let create = |inject: &str| -> Result<Ran> {
                let program = context.composefs();
                let program = program.get_program().to_string_lossy();
                let line = format!("{inject}{program} --repo {repository} create tree --name os");
                command::run(Command::new("sh").args(["-c", &line]).current_dir(&scene.dir))
            };
            let inject = format!("strace -qq -f -o /dev/null -e trace=ioctl -e inject=ioctl:error={error} ");
            let ran = create(&inject)?;
            if repository == "sealed" {
                ran.exited(1)?.says("fs-verity")?.says(cause)?;
            } else {
                ran.success()?;
            }
            create("")?.success()?;
        }
    }
    Ok(())
}

fn sparse_files_are_sealed_with_their_holes(context: &Context) -> Result<()> {
    const LEN: u64 = 32 << 20;
    let scene = Scene::new(context)?;
    let file = fs::File::create(scene.dir.join("tree/sparse"))?;
    file.set_len(LEN)?;
    file.write_all_at(b"not zero", LEN / 2)?;
    scene.composefs("--repo r init")?.success()?;
    scene.composefs("--repo r create tree --name image")?.success()?;
    let digest = scene.context_digest(&scene.dir.join("tree/sparse"))?;
    let object = scene.dir.join("r/objects").join(&digest[..2]).join(&digest[2..]);
    ensure!(context.measure(&object)?.to_hex() == digest, "the sparse object is not sealed");
    // The kernel stores the hashes of all blocks after the content, also of those in holes.
    let (blocks, hashes) = (object.metadata()?.blocks(), LEN / 4096 / 127 * 8);
    ensure!(blocks <= hashes + 256, "{blocks} blocks, of which at most {hashes} are hashes");
    scene.composefs("--repo r fsck")?.success()?;
    scene.composefs("--repo r mount image mnt")?.success()?;
    drop_caches()?;
    let mounted = fs::File::open(scene.dir.join("mnt/sparse"))?;
    for (offset, expected) in [(0, &[0; 8]), (LEN / 2, b"not zero"), (LEN - 8, &[0; 8])] {
        let mut bytes = [1; 8];
        mounted.read_exact_at(&mut bytes, offset)?;
        ensure!(bytes == *expected, "{bytes:?} at {offset}");
    }
    drop(mounted);
    scene.composefs("umount mnt")?.success()?;
    Ok(())
}

/// A ref was moved to another image: `digest=` of the one that is wanted refuses it.
fn options_of_a_mount_only_strengthen_it(context: &Context) -> Result<()> {
    let scene = Scene::new(context)?;
    for (repository, init) in [("secure", "init"), ("insecure", "init --insecure")] {
        scene.composefs(&format!("--repo {repository} {init}"))?.success()?;
        let create = |name: &str| -> Result<String> {
            let created = scene.composefs(&format!("--repo {repository} create tree --name {name}"))?.success()?;
            Ok(created.stdout.trim().to_owned())
        };
        let wanted = create("wanted")?;
        let file = scene.dir.join(format!("tree/{repository}"));
        fs::write(&file, "another tree")?;
        let other = create("other")?;
        fs::remove_file(file)?;
        ensure!(wanted != other, "the images are the same");
        if repository == "insecure" {
            // digest= asks the kernel, so this image needs fs-verity in a repository that does without, too.
            let image = scene.dir.join("insecure/objects").join(&wanted[..2]).join(&wanted[2..]);
            if context.measure(&image).is_err() {
                command::run(Command::new("fsverity").arg("enable").arg(&image))?.success()?;
            }
        }
        let mount = |options: &str| scene.composefs(&format!("--repo {repository} mount moved mnt -o {options}"));
        scene.composefs(&format!("--repo {repository} tag {wanted} moved"))?.success()?;
        for right in [format!("digest={wanted}"), format!("verity_check=2,digest={wanted}"), "verity_check=2".into()] {
            mount(&right)?.success()?;
            scene.composefs("umount mnt")?.success()?;
        }
        scene.composefs(&format!("--repo {repository} tag {other} moved"))?.success()?;
        for wrong in [&wanted, &"00".repeat(32), &"00".repeat(64)] {
            let refused = mount(&format!("digest={wrong}"))?.exited(1)?.says("Image has wrong fs-verity")?;
            ensure!(refused.stderr.contains(wrong) && refused.stderr.contains(&other), "{refused:?}");
            let json = scene.composefs(&format!("--repo {repository} mount moved mnt --json -o digest={wrong}"))?;
            ensure!(json.exited(1)?.stdout.contains("\"wrong-verity\""), "the kind of failure is not in the JSON");
        }
        for check in 0..=1 {
            let ran = mount(&format!("verity_check={check}"))?;
            if repository == "secure" {
                ran.exited(1)?.says(&format!("verity_check={check} contradicts"))?;
            } else {
                ran.success()?;
                scene.composefs("umount mnt")?.success()?;
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        ensure!(!mounts.contains(&wanted) && !mounts.contains(&other), "a refused mount is there:\n{mounts}");
    }
    Ok(())
}

fn lost_fs_verity_is_found_and_put_back(context: &Context) -> Result<()> {
    let scene = Scene::new(context)?;
    scene.composefs("--repo r init")?.success()?;
    scene.composefs("--repo r create tree --name image")?.success()?;
    scene.composefs("--repo r fsck")?.success()?;
    let replace = |object: &Path, salt: Option<&str>| -> Result<()> {
        let copy = scene.dir.join("copy");
        fs::copy(object, &copy)?;
        if let Some(salt) = salt {
            command::run(Command::new("fsverity").arg("enable").arg(format!("--salt={salt}")).arg(&copy))?.success()?;
        }
        fs::rename(&copy, object).map_err(Into::into)
    };
    // The same bytes: without fs-verity, and with one whose digest is another.
    let (without, other) = (scene.object_of("r", 2)?, scene.object_of("r", 4)?);
    replace(&without, None)?;
    replace(&other, Some("00ff"))?;
    let found = scene.composefs("--repo r fsck")?.exited(1)?.stdout;
    ensure!(found.contains("1 no-verity, 0 repaired") && found.contains("1 wrong-verity, 0 repaired"), "{found}");
    ensure!(found.contains(&*without.strip_prefix(scene.dir.join("r"))?.to_string_lossy()), "{found}");
    let mended = scene.composefs("--repo r fsck --repair")?.success()?.stdout;
    ensure!(mended.contains("1 no-verity, 1 repaired") && mended.contains("1 wrong-verity, 1 repaired"), "{mended}");
    for object in [&without, &other] {
        let name = object.strip_prefix(scene.dir.join("r/objects"))?.to_string_lossy().replace('/', "");
        ensure!(context.measure(object)?.to_hex() == name, "{} is measured otherwise", object.display());
    }
    let sound = scene.composefs("--repo r fsck")?.success()?.stdout;
    ensure!(sound.contains("no problems found"), "{sound}");
    // The settings: what they were the objects tell.
    fs::remove_file(scene.dir.join("r/meta.json"))?;
    scene.composefs("--repo r images")?.exited(1)?.says("is no composefs repository")?;
    scene.composefs("--repo r fsck")?.exited(1)?;
    scene.composefs("--repo r fsck --repair")?.success()?;
    context.measure(&scene.dir.join("r/meta.json")).context("meta.json is not sealed")?;
    scene.composefs("--repo r fsck")?.success().map(drop)
}

/// Data that fs-verity finds damaged below the file system cannot be read: this is reported, and another copy replaces
/// it.
fn data_the_disk_has_lost_is_replaced(context: &Context) -> Result<()> {
    let scene = Scene::new(context)?;
    scene.composefs("--repo r init")?.success()?;
    scene.composefs("--repo r create tree --name image")?.success()?;
    let object = scene.object_of("r", 5)?;
    rustix::fs::sync();
    let on_disk = Path::new("/").join(object.strip_prefix("/mnt")?);
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-R", &format!("blocks {}", on_disk.display()), "/dev/vda"]);
    let blocks = command::run(&mut debugfs)?.success()?.stdout;
    let block: u64 = blocks.split_whitespace().next().context("no block")?.parse()?;
    let disk = fs::File::options().write(true).open("/dev/vda")?;
    disk.write_all_at(&[0x55; 4096], block * 4096)?;
    disk.sync_all()?;
    drop(disk);
    drop_caches()?;
    let below = object.strip_prefix(scene.dir.join("r"))?.to_string_lossy().into_owned();
    let found = scene.composefs("--repo r fsck")?.exited(1)?.stdout;
    ensure!(found.contains(&format!("{below}: unreadable: it cannot be read: Input/output error")), "{found}");
    ensure!(found.contains("1 unreadable, 0 repaired") && found.lines().count() == 3, "{found}");
    let mended = scene.composefs("--repo r fsck --repair --from tree")?.success()?.stdout;
    ensure!(mended.contains("1 unreadable, 1 repaired"), "{mended}");
    drop_caches()?;
    ensure!(fs::read(&object)? == fs::read(scene.dir.join("tree/5"))?, "another content");
    scene.composefs("--repo r fsck")?.success().map(drop)
}

/// The number of `EIO`.
fn libc_eio() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}

/// An object that is a hard link to a file elsewhere: fs-verity in place would make that file read-only for ever.
fn a_hard_link_is_sealed_as_a_copy(context: &Context) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let scene = Scene::new(context)?;
    scene.composefs("--repo r init")?.success()?;
    for (file, by) in [(1, "create"), (2, "import"), (3, "fsck")] {
        let elsewhere = scene.dir.join(format!("tree/{file}"));
        let object = scene.object_of("r", file)?;
        if by != "create" {
            // The first create has sealed all objects; then this one loses its fs-verity, by a restore for example.
            fs::remove_file(&object)?;
        }
        fs::create_dir_all(object.parent().context("no parent")?)?;
        fs::hard_link(&elsewhere, &object)?;
        match by {
            "create" => drop(scene.composefs("--repo r create tree --name image")?.success()?),
            "import" => {
                // All objects are there: that one is copied from itself.
                let image = fs::canonicalize(scene.dir.join("r/images/refs/image"))?;
                scene.composefs(&format!("--repo r import {} --name again", image.display()))?.success()?;
            }
            _ => drop(scene.composefs("--repo r fsck --repair")?.success()?),
        }
        ensure!(context.measure(&elsewhere).is_err(), "{by}: the file elsewhere was sealed");
        context.measure(&object).with_context(|| format!("{by}: the object is not sealed"))?;
        ensure!(fs::read(&object)? == fs::read(&elsewhere)?, "{by}");
        ensure!(fs::metadata(&elsewhere)?.nlink() == 1, "{by}: still one file");
        // It can be written as before.
        fs::OpenOptions::new().append(true).open(&elsewhere)?;
        scene.composefs("--repo r fsck")?.success()?;
    }
    // One that is the store's alone is sealed where it is.
    let object = scene.object_of("r", 4)?;
    fs::remove_file(&object)?;
    fs::copy(scene.dir.join("tree/4"), &object)?;
    let number = fs::metadata(&object)?.ino();
    scene.composefs("--repo r create tree --name image")?.success()?;
    context.measure(&object)?;
    ensure!(fs::metadata(&object)?.ino() == number, "it was copied");
    Ok(())
}

fn what_another_namespace_has_mounted_stays(context: &Context) -> Result<()> {
    let scene = Scene::new(context)?;
    scene.composefs("--repo r init")?.success()?;
    let digest = scene.composefs("--repo r create tree --name image")?.success()?.stdout.trim().to_owned();
    let script = "$0 --repo r mount image mnt && : > mounted && while [ ! -e done ]; do sleep 0.1; done && \
                  cat mnt/5 > read; umount mnt";
    let mut other = Command::new("unshare");
    other.args(["--mount", "--propagation=private", "sh", "-c", script]).arg(context.composefs().get_program());
    other.current_dir(&scene.dir);
    let mut other = other.spawn()?;
    for _ in 0..600 {
        if scene.dir.join("mounted").exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    ensure!(scene.dir.join("mounted").exists(), "it was not mounted");
    ensure!(!fs::read_to_string("/proc/self/mountinfo")?.contains(&digest), "the mount is seen here");
    scene.composefs("--repo r untag image")?.success()?;
    let gc = scene.composefs("--repo r gc --grace=0")?.success()?.stdout;
    ensure!(gc.contains(&digest) && gc.contains("0 images and 0 objects removed"), "{gc}");
    fs::write(scene.dir.join("done"), "")?;
    ensure!(other.wait()?.success(), "it could not be read");
    ensure!(fs::read(scene.dir.join("read"))? == fs::read(scene.dir.join("tree/5"))?, "something else was read");
    let gc = scene.composefs("--repo r gc --grace=0")?.success()?.stdout;
    ensure!(gc.contains("1 image and 7 objects removed"), "{gc}");
    Ok(())
}

fn a_disk_that_fails_is_told(context: &Context) -> Result<()> {
    let scene = Scene::new(context)?;
    let disk = scene.disk(64)?;
    let device = &disk.device;
    scene.run("modprobe dm_flakey").context("no dm-flakey")?;
    let sectors = (64u64 << 20) / 512;
    let table = |target: &str| match target {
        "linear" => format!("0 {sectors} linear {device} 0"),
        _ => format!("0 {sectors} flakey {device} 0 0 600 1 error_writes"),
    };
    // Without udev the device node is dmsetup's own to make.
    let dmsetup =
        |words: &[&str]| command::run(Command::new("dmsetup").env("DM_DISABLE_UDEV", "1").args(words))?.success();
    dmsetup(&["create", "weak", "--table", &table("linear")])?;
    let result = (|| {
        scene.run("mke2fs -q -t ext4 -O verity -b 4096 /dev/mapper/weak")?;
        scene.run("mount /dev/mapper/weak fs")?;
        scene.composefs("--repo fs/r init")?.success()?;
        let digest = scene.composefs("--repo fs/r create tree --name good")?.success()?.stdout.trim().to_owned();
        fs::write(scene.dir.join("tree/new"), vec![7; 2_000_000])?;
        let switch = |target: &str| -> Result<()> {
            dmsetup(&["suspend", "--nolockfs", "weak"])?;
            dmsetup(&["reload", "weak", "--table", &table(target)])?;
            dmsetup(&["resume", "weak"]).map(drop)
        };
        switch("flakey")?;
        let failed = scene.composefs("--repo fs/r create tree --name bad")?.exited(1)?;
        let told = ["Input/output error", "Read-only file system"].iter().any(|words| failed.stderr.contains(words));
        ensure!(told && failed.stderr.contains("fs/r"), "{failed:?}");
        switch("linear")?;
        scene.run("umount fs")?;
        // The journal is replayed.
        scene.run("mount /dev/mapper/weak fs")?;
        let images = scene.composefs("--repo fs/r images")?.success()?.stdout;
        ensure!(images.contains(&digest) && images.contains("good") && !images.contains("bad"), "{images}");
        let image = format!("fs/r/images/{digest}");
        scene.composefs(&format!("check --read --basedir=fs/r/objects --digest={digest} {image}"))?.success()?;
        // On a better day the same works.
        scene.composefs("--repo fs/r create tree --name bad")?.success().map(drop)
    })();
    let _ = command::run(Command::new("umount").arg("fs").current_dir(&scene.dir));
    let _ = dmsetup(&["remove", "weak"]);
    result
}

fn a_quota_is_a_full_disk(context: &Context) -> Result<()> {
    let scene = Scene::new(context)?;
    let disk = scene.disk(320)?;
    scene.run(&format!("mkfs.xfs -q {}", disk.device))?;
    scene.run(&format!("mount -o prjquota {} fs", disk.device))?;
    let result = (|| {
        fs::create_dir(scene.dir.join("fs/limited"))?;
        let quota = |command: &str| {
            let mut xfs_quota = Command::new("xfs_quota");
            command::run(
                xfs_quota
                    .args(["-x", "-D", "/dev/null", "-P", "/dev/null", "-c", command, "fs"])
                    .current_dir(&scene.dir),
            )?
            .success()
        };
        scene.composefs("--repo fs/limited/r init --insecure")?.success()?;
        quota("project -s -p fs/limited 7")?;
        quota("limit -p bhard=64k 7")?;
        let failed = scene.composefs("--repo fs/limited/r create tree --name image")?.exited(1)?;
        // The limit of a project is reported like a full disk.
        let told = ["No space left on device", "Disk quota exceeded"].iter().any(|words| failed.stderr.contains(words));
        ensure!(told, "{failed:?}");
        let images = scene.composefs("--repo fs/limited/r images")?.success()?.stdout;
        ensure!(images.is_empty(), "{images}");
        let found = scene.run("find fs/limited/r/objects -type f")?.stdout;
        ensure!(found.is_empty(), "{found}");
        quota("limit -p bhard=64m 7")?;
        scene.composefs("--repo fs/limited/r create tree --name image")?.success().map(drop)
    })();
    scene.run("umount fs")?;
    result
}

fn fat_is_refused(context: &Context) -> Result<()> {
    let scene = Scene::new(context)?;
    let disk = scene.disk(16)?;
    scene.run(&format!("mkfs.vfat {}", disk.device))?;
    scene.run(&format!("mount -t vfat {} fs", disk.device))?;
    let refused = scene.composefs("--repo fs/r init --insecure").and_then(|ran| ran.exited(1));
    let is_gone = !scene.dir.join("fs/r").exists();
    scene.run("umount fs")?;
    refused?.says("does not support symlinks")?;
    ensure!(is_gone, "something stays behind");
    // On the disk beside it there is nothing against it.
    scene.composefs("--repo r init --insecure")?.success().map(drop)
}
