//! The reads of the disk: contents once for all images that share them, metadata at mount.

use std::fs::{self, File};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};

use super::VERIFYING;
use super::scene::Scene;
use crate::context::Context;
use crate::disk;

/// Several times what the kernel reads ahead.
const LEN: usize = 4 << 20;
const SECTOR: u64 = 512;

crate::tests::tests! { "page_cache", crate::kernel::Kernels::All => [
    images_share_the_pages_of_an_object,
    the_metadata_is_read_at_mount,
] }

fn images_share_the_pages_of_an_object(context: &Context) -> Result<()> {
    let scene = Scene::empty(context, "pages")?;
    let data: Vec<u8> = (0..LEN as u32 / 4).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    // Nothing but the content is the same.
    fs::create_dir_all(scene.path("second/deep/er"))?;
    for (file, owner, mode, seconds) in [
        ("rootfs/name", 1000, 0o100_644, 1_000_000_000),
        ("second/deep/er/another-name", 2000, 0o100_755, 1_500_000_000),
    ] {
        fs::write(scene.path(file), &data)?;
        let file = File::options().write(true).open(scene.path(file))?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))?;
        std::os::unix::fs::fchown(&file, Some(owner), Some(owner))?;
    }
    scene.sh("mkcomposefs --digest-store=objects rootfs rootfs.img")?.success()?;
    scene.sh("mkcomposefs --digest-store=objects second second.img")?.success()?;
    ensure!(scene.sh("find objects -type f | wc -l")?.success()?.stdout.trim() == "1", "the object is not shared");
    let object = scene.object(&data);

    let options = if VERIFYING.include(context.kernel) { "basedir=objects,verity" } else { "basedir=objects" };
    scene.mount(options)?;
    scene.sh(&format!("mount -t composefs second.img -o {options} other"))?.success()?;
    let (first, second) = (scene.path("mnt/name"), scene.path("other/deep/er/another-name"));
    let resident = || -> Result<usize> {
        let asked = scene.sh(&format!("fincore --noheadings --output PAGES {}", object.display()))?.success()?;
        asked.stdout.trim().parse().with_context(|| format!("odd output {:?}", asked.stdout))
    };
    let sectors = |file| -> Result<u64> {
        let before = disk::sectors_read("vda")?;
        ensure!(fs::read(file)? == data, "the content differs");
        Ok(disk::sectors_read("vda")? - before)
    };
    // Names and metadata of both images once, so that the content is all that is left to read.
    let forget = || -> Result<()> {
        disk::drop_caches()?;
        for file in [&first, &second] {
            ensure!(File::open(file)?.metadata()?.len() == LEN as u64);
        }
        let pages = resident()?;
        ensure!(pages < LEN / 4096 / 10, "{pages} pages are there before anything was read");
        Ok(())
    };

    forget()?;
    let cold = sectors(&first)?;
    ensure!(cold >= LEN as u64 / SECTOR, "only {cold} sectors were read by the first");
    let pages = resident()?;
    ensure!(pages == LEN / 4096, "{pages} of {} pages are there after the first read", LEN / 4096);
    let shared = sectors(&second)?;
    ensure!(shared == 0, "{shared} sectors were read by the second");

    // And it would have read them, had the first not been there.
    forget()?;
    let control = sectors(&second)?;
    ensure!(control >= LEN as u64 / SECTOR, "only {control} sectors were read by the second alone");
    println!("\npage cache: {cold} sectors by the first, {shared} by the second, {control} by the second alone");
    scene.finish()
}

/// Also where the kernel checks every block of the image by fs-verity.
fn the_metadata_is_read_at_mount(context: &Context) -> Result<()> {
    const NAMES: u32 = 3000;
    let scene = Scene::empty(context, "ahead")?;
    for name in 0..NAMES {
        let dir = scene.path(format!("rootfs/{}", name / 100));
        if name % 100 == 0 {
            fs::create_dir(&dir)?;
        }
        std::os::unix::fs::symlink("target", dir.join(format!("a-name-of-some-length-{name}")))?;
    }
    scene.sh("mkcomposefs --digest-store=objects rootfs rootfs.img; fsverity enable rootfs.img")?.success()?;
    let image = fs::metadata(scene.path("rootfs.img"))?.len() / SECTOR;
    let options = if VERIFYING.include(context.kernel) {
        let digest = scene.sh("fsverity digest --compact rootfs.img")?.success()?.stdout;
        format!("basedir=objects,digest={}", digest.trim())
    } else {
        "basedir=objects".to_owned()
    };
    // What is read by the mount, and then by someone who looks at every name.
    let sectors = |more: &str, expected: u64| -> Result<(u64, u64)> {
        disk::drop_caches()?;
        let start = disk::sectors_read("vda")?;
        scene.mount(&format!("{options}{more}"))?;
        // Until as much was read as is expected, and the disk has come to rest.
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut mounted = start;
        loop {
            let before = std::mem::replace(&mut mounted, disk::sectors_read("vda")?);
            if mounted - start >= expected && mounted == before || Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let mut names = 0;
        for dir in fs::read_dir(scene.path("mnt"))? {
            for entry in fs::read_dir(dir?.path())? {
                entry?.metadata()?;
                names += 1;
            }
        }
        ensure!(names == NAMES, "{names} names are there");
        scene.umount("mnt")?;
        Ok((mounted - start, disk::sectors_read("vda")? - mounted))
    };
    let (at_mount, later) = sectors("", image)?;
    ensure!(at_mount >= image && later < image / 10, "of {image} sectors {at_mount} at mount, {later} later");
    // And it would have read them later.
    let (at_mount_off, later_off) = sectors(",readahead=off", 0)?;
    ensure!(
        later_off > image / 2,
        "of {image} sectors {at_mount_off} at mount, {later_off} later, without reading ahead"
    );
    println!(
        "\nimage of {image} sectors: {at_mount} read at mount, {later} later; \
         readahead=off: {at_mount_off}, {later_off}"
    );
    scene.finish()
}
