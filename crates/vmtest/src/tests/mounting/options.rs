//! The options of a mount, as people give them to mount(8) and write them in fstab.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt, chown};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::scene::{Scene, content};
use crate::context::Context;
use crate::kernel::Kernels;

crate::tests::tests! {
    "options",
    Kernels::All => [
        generic_ones_become_attributes,
        lines_of_fstab,
        unknown_ones_are_refused,
        owners_are_mapped,
        odd_names_are_protected_by_backslashes,
        dry_run_mounts_nothing,
        umount_takes_only_composefs_mounts,
        helper_is_called_directly,
    ],
}

/// The attributes of a mount, the sixth field of its line.
fn attributes(scene: &Scene, target: &str) -> Result<Vec<String>> {
    let line = scene.mountinfo(target)?;
    Ok(line.split(' ').nth(5).unwrap_or_default().split(',').map(str::to_owned).collect())
}

fn generic_ones_become_attributes(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "attributes")?;
    fs::write(scene.path("rootfs/script"), format!("#!/bin/sh\n# {}\necho it runs\n", "-".repeat(100)))?;
    fs::set_permissions(scene.path("rootfs/script"), PermissionsExt::from_mode(0o755))?;
    scene.sh("mkcomposefs --digest-store=objects rootfs rootfs.img")?.success()?;

    scene.mount(
        "basedir=objects,ro,nosuid,nodev,noexec,noatime,nodiratime,nofail,_netdev,x-foo,x-foo.bar=1,comment=c",
    )?;
    let got = attributes(&scene, "mnt")?;
    for word in ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"] {
        ensure!(got.iter().any(|attribute| attribute == word), "{word} is not among {got:?}");
    }
    scene.sh("mnt/script")?.exited(126)?;
    scene.reads("mnt/twin", content("twin"))?;
    scene.mount_at("defaults,basedir=objects", "other")?;
    let got = attributes(&scene, "other")?;
    ensure!(got == ["ro", "relatime"], "{got:?}");
    ensure!(scene.sh("other/script")?.success()?.stdout == "it runs\n");
    scene.umount("other")?;
    // Of two that contradict each other the later one counts.
    scene.mount_at("basedir=objects,noexec,nodev,exec,strictatime", "other")?;
    let got = attributes(&scene, "other")?;
    ensure!(got == ["ro", "nodev"], "{got:?}");
    ensure!(scene.sh("other/script")?.success()?.stdout == "it runs\n");
    scene.finish()
}

fn lines_of_fstab(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "fstab")?;
    let dir = scene.path("").display().to_string();
    let dir = dir.trim_end_matches('/');
    let lines = format!(
        "{dir}/rootfs.img {dir}/mnt composefs basedir={dir}/objects,nodev,noatime,nofail,_netdev,\
         x-systemd.requires=/mnt 0 0\n\
         {dir}/rootfs.img {dir}/other composefs noauto,basedir={dir}/objects,ro 0 0\n\
         {dir}/absent.img {dir}/other composefs basedir={dir}/objects,nofail 0 0\n"
    );
    fs::write(scene.path("fstab"), &lines)?;
    scene.sh("mount -T fstab -a")?.success()?;
    let got = attributes(&scene, "mnt")?;
    ensure!(got == ["ro", "nodev", "noatime"], "{got:?}");
    ensure!(scene.mountinfo("other").is_err(), "noauto was mounted, or an image that is not there");
    scene.reads("mnt/twin", content("twin"))?;
    scene.umount("mnt")?;
    for target in ["other", "mnt"] {
        scene.sh(&format!("mount -T fstab {dir}/{target}"))?.success()?;
        scene.reads(&format!("{target}/twin"), content("twin"))?;
        scene.umount(target)?;
    }
    // Without nofail a missing image is a failure, and named.
    fs::write(scene.path("fstab"), lines.lines().last().unwrap_or_default().replace(",nofail", ""))?;
    scene.refused("mount -T fstab -a", &["Failed to open ", "absent.img: No such file or directory"])?;
    scene.finish()
}

fn unknown_ones_are_refused(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "unknown")?;
    for option in ["noverity", "nosigned", "lowerdir=x", "metacopy=off"] {
        let name = option.split('=').next().unwrap_or_default();
        scene.mount_refused(&format!("basedir=objects,{option}"), &[&format!("Unsupported option {name}")])?;
    }
    scene.mount_refused("basedir", &["No value specified for basedir option"])?;
    scene.mount_refused("basedir=objects:", &["Value for basedir option has incorrect format"])?;
    // mount -s: options of no known meaning are passed over.
    scene.sh("mount -s -t composefs rootfs.img -o basedir=objects,flavour=mild mnt")?.success()?;
    scene.reads("mnt/twin", content("twin"))?;
    scene.finish()
}

/// A process in a user namespace of its own.
struct Namespace(Child);

impl Namespace {
    fn new() -> Result<Self> {
        let child = Command::new("unshare").args(["-U", "sleep", "600"]).stdin(Stdio::null()).spawn()?;
        let namespace = Self(child);
        let ours = fs::read_link("/proc/self/ns/user")?;
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::read_link(namespace.file())? == ours {
            ensure!(Instant::now() < deadline, "unshare makes no namespace");
            std::thread::sleep(Duration::from_millis(20));
        }
        for map in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{}/{map}", namespace.0.id()), "0 100000 65536\n")?;
        }
        Ok(namespace)
    }

    fn file(&self) -> String {
        format!("/proc/{}/ns/user", self.0.id())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn owners_are_mapped(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "idmap")?;
    chown(scene.path("rootfs/file_a"), Some(5), Some(7))?;
    scene.sh("mkcomposefs --digest-store=objects rootfs rootfs.img")?.success()?;
    let namespace = Namespace::new()?;
    scene.mount(&format!("basedir=objects,idmap={}", namespace.file()))?;
    drop(namespace);
    scene.mount_at("basedir=objects", "other")?;
    for (file, plain) in [("file_a", (5, 7)), ("twin", (0, 0))] {
        let owner = |target: &str| fs::metadata(scene.path(target).join(file)).map(|meta| (meta.uid(), meta.gid()));
        let (mapped, unmapped) = (owner("mnt")?, owner("other")?);
        ensure!(unmapped == plain && mapped == (plain.0 + 100_000, plain.1 + 100_000), "{mapped:?}, {unmapped:?}");
        scene.reads(&format!("mnt/{file}"), content(file))?;
    }
    scene.umount("mnt")?;
    scene
        .mount_refused("basedir=objects,idmap=absent", &["Failed to open userns absent: No such file or directory"])?;
    scene.mount_refused("basedir=objects,idmap=/proc/self/ns/user", &["rootfs.img", "remedy: "])?;
    scene.mount_refused("basedir=objects,idmap=rootfs.img", &["rootfs.img"])?;
    scene.finish()
}

/// Each kernel's interface escapes other bytes, and that of mount contexts takes no long text.
fn odd_names_are_protected_by_backslashes(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "odd")?;
    fs::rename(scene.path("rootfs.img"), scene.path("an, odd: \\image"))?;
    let long = format!("{}/{}", "l".repeat(200), "o".repeat(200));
    for name in ["a b", "c,d", "e:f", r"g\h", r"i\\,\:", "j=k", &long] {
        let dir = scene.path(name);
        fs::create_dir_all(&dir)?;
        fs::rename(scene.path("objects"), dir.join("objects"))?;
        let protected: String =
            name.chars().flat_map(|c| [Some('\\').filter(|_| "\\,:".contains(c)), Some(c)]).flatten().collect();
        let options = format!("ro,basedir={protected}/objects,nodev");
        // By mount(8), which divides the options too, and without it.
        for by in ["mount -t composefs", "mount.composefs"] {
            scene.sh(&format!(r"{by} -o '{options}' 'an, odd: \image' mnt"))?.success()?;
            ensure!(attributes(&scene, "mnt")?.iter().any(|word| word == "nodev"), "{name:?}: nodev was lost");
            scene.reads("mnt/twin", content("twin"))?;
            scene.umount("mnt")?;
        }
        fs::rename(dir.join("objects"), scene.path("objects"))?;
    }
    scene.finish()
}

fn dry_run_mounts_nothing(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "dry-run")?;
    let plan = scene.sh("composefs mount --dry-run rootfs.img mnt -o basedir=objects,verity,nodev")?.success()?.stdout;
    for line in ["image    rootfs.img", "verity=require", "datadir+=objects", "mount    mnt (ro,nodev)"] {
        ensure!(plan.contains(line), "{line:?} is not in the plan:\n{plan}");
    }
    ensure!(scene.mountinfo("mnt").is_err(), "it was mounted");
    scene.sh("mount -f -t composefs rootfs.img -o basedir=objects mnt")?.success()?;
    ensure!(scene.mountinfo("mnt").is_err(), "it was mounted by mount -f");
    scene.refused("composefs mount --dry-run absent.img mnt -o basedir=objects", &["absent.img"])?;
    scene.sh("composefs mount rootfs.img mnt -o basedir=objects")?.success()?;
    scene.reads("mnt/twin", content("twin"))?;
    scene.finish()
}

fn umount_takes_only_composefs_mounts(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "umount")?;
    scene.mount("basedir=objects")?;
    scene.sh("mount -t tmpfs tmpfs other")?.success()?;
    scene.refused("composefs umount other", &["other", "no composefs mount but tmpfs"])?;
    scene.refused("composefs umount objects", &["objects", "not a mount point"])?;
    scene.refused("exec 3<mnt/twin; composefs umount mnt", &["mnt: Device or resource busy", "remedy: "])?;
    scene.sh("composefs umount mnt")?.success()?;
    ensure!(scene.mountinfo("mnt").is_err(), "it is still mounted");
    scene.refused("composefs umount mnt", &["mnt", "not a mount point"])?;
    scene.mount("basedir=objects")?;
    let lazy = scene.sh("exec 3<mnt/twin; composefs umount --lazy mnt && cat <&3")?.success()?;
    ensure!(lazy.stdout == content("twin"), "the open file was taken away");
    scene.finish()
}

fn helper_is_called_directly(context: &Context) -> Result<()> {
    let scene = Scene::stored(context, "helper")?;
    scene.sh("mount.composefs rootfs.img mnt -nvo basedir=objects")?.success()?;
    scene.reads("mnt/twin", content("twin"))?;
    scene.refused("mount.composefs -t xfs -o basedir=objects rootfs.img other", &["Unsupported fs type 'xfs'"])?;
    scene.refused("mount.composefs rootfs.img other", &["No object dirs specified", "usage: "])?;
    scene.refused("mount.composefs -o basedir=objects", &["No source path specified", "usage: "])?;
    scene.finish()
}
