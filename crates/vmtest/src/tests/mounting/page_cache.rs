//! What is read through one image is in memory for all others that have the same file.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};

use super::VERIFYING;
use super::scene::Scene;
use crate::context::Context;
use crate::disk;

/// Several times what the kernel reads ahead.
const LEN: usize = 4 << 20;
const SECTOR: u64 = 512;

crate::tests::tests! { "page_cache", crate::kernel::Kernels::All => [images_share_the_pages_of_an_object] }

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
