//! The kernel's fs-verity against our own computation of the digest.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use composefs_image::{Algorithm, Digest, verity};

use crate::command;
use crate::context::Context;
use crate::kernel::Kernels;

super::tests! { "fs_verity", Kernels::All => [digest_is_the_kernels, content_is_sealed] }

fn digest_is_the_kernels(context: &Context) -> Result<()> {
    let dir = context.scratch("verity")?;
    let data: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    // Around one block of data, one block of hashes and the second level of each tree.
    for len in [0, 1, 4095, 4096, 4097, 64 * 4096, 64 * 4096 + 1, 128 * 4096, 128 * 4096 + 1, 1 << 20] {
        for algorithm in Algorithm::ALL {
            let file = dir.join(format!("{algorithm}-{len}"));
            fs::write(&file, &data[..len])?;
            let measured = enable(context, &file, algorithm)?;
            let computed = verity::digest(algorithm, &data[..len]);
            ensure!(measured == computed, "{len} bytes: the kernel has {measured:?}, we {computed:?}");
        }
    }
    Ok(())
}

fn content_is_sealed(context: &Context) -> Result<()> {
    let file = context.scratch("sealed")?.join("file");
    fs::write(&file, "sealed")?;
    enable(context, &file, Algorithm::Sha256)?;
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

fn enable(context: &Context, file: &Path, algorithm: Algorithm) -> Result<Digest> {
    let algorithm = format!("--hash-alg={algorithm}");
    command::run(Command::new("fsverity").args(["enable", "--block-size=4096", &algorithm]).arg(file))?.success()?;
    context.measure(file)
}
