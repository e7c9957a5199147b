//! The kernel's fs-verity against our own computation of the digest.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_sys::verity::{Enabled, Measurement, enable, measure};

use crate::command;
use crate::context::Context;
use crate::kernel::Kernels;

super::tests! { "fs_verity", Kernels::All => [digest_is_the_kernels, content_is_sealed, measured_digests_are_believed] }

fn digest_is_the_kernels(context: &Context) -> Result<()> {
    let dir = context.scratch("verity")?;
    let data: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    // Around one block of data, one block of hashes and the second level of each tree.
    for len in [0, 1, 4095, 4096, 4097, 64 * 4096, 64 * 4096 + 1, 128 * 4096, 128 * 4096 + 1, 1 << 20] {
        for algorithm in Algorithm::ALL {
            let file = dir.join(format!("{algorithm}-{len}"));
            fs::write(&file, &data[..len])?;
            let measured = enabled(context, &file, algorithm)?;
            let computed = verity::digest(algorithm, &data[..len]);
            ensure!(measured == computed, "{len} bytes: the kernel has {measured:?}, we {computed:?}");
        }
    }
    Ok(())
}

fn content_is_sealed(context: &Context) -> Result<()> {
    let file = context.scratch("sealed")?.join("file");
    fs::write(&file, "sealed")?;
    enabled(context, &file, Algorithm::Sha256)?;
    for (what, opened) in [
        ("write", File::options().write(true).open(&file)),
        ("append", File::options().append(true).open(&file)),
        ("truncate", File::create(&file)),
    ] {
        match opened {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && error.raw_os_error() == Some(1) => {}
            other => bail!("opening to {what} should be refused with EPERM, but: {other:?}"),
        }
    }
    command::run(Command::new("fsverity").arg("enable").arg(&file))?.exited(1)?.says("File exists")?;
    ensure!(fs::read(&file)? == b"sealed");
    Ok(())
}

/// A digest counts only where `statx` has `STATX_ATTR_VERITY`: every kernel has to set it wherever it has fs-verity.
fn measured_digests_are_believed(context: &Context) -> Result<()> {
    let dir = context.scratch("believed")?;
    believed_in(&dir)?;
    let disk = dir.join("disk");
    File::create(&disk)?.set_len(128 << 20)?;
    fs::create_dir(dir.join("btrfs"))?;
    command::run(Command::new("mkfs.btrfs").arg("-q").arg(&disk))?.success()?;
    command::run(Command::new("mount").args(["-o", "loop"]).arg(&disk).arg(dir.join("btrfs")))?.success()?;
    let believed = believed_in(&dir.join("btrfs"));
    command::run(Command::new("umount").arg(dir.join("btrfs")))?.success()?;
    believed
}

fn believed_in(dir: &Path) -> Result<()> {
    for algorithm in Algorithm::ALL {
        let path = dir.join(algorithm.name());
        fs::write(&path, "content")?;
        let file = File::open(&path)?;
        ensure!(measure(&file)? == Measurement::NotEnabled, "{} has fs-verity already", path.display());
        ensure!(enable(&file, algorithm.kernel_number(), 4096)? == Enabled::Now);
        let expected = verity::digest(algorithm, b"content");
        match measure(&file)? {
            Measurement::Digest(found) if found.digest == expected.as_bytes() => {}
            other => bail!("{}: {other:?}, not {expected:?}", path.display()),
        }
    }
    Ok(())
}

fn enabled(context: &Context, file: &Path, algorithm: Algorithm) -> Result<Digest> {
    let algorithm = format!("--hash-alg={algorithm}");
    command::run(Command::new("fsverity").args(["enable", "--block-size=4096", &algorithm]).arg(file))?.success()?;
    context.measure(file)
}
