//! The kernel's fs-verity against our own computation of the digest.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_sys::verity::{Enabled, Measurement, enable, measure};

use crate::command::{self, Ran};
use crate::context::Context;
use crate::kernel::Kernels;

super::tests! { "fs_verity",
    Kernels::All => [
        digest_is_the_kernels,
        content_is_sealed,
        measured_digests_are_believed,
        seal_enables_fs_verity,
        seal_refuses_what_the_kernel_refuses,
        seal_and_mount_name_a_file_system_without_fs_verity,
    ],
    Kernels::Since((6, 6)) => [seal_and_verified_mount_of_the_readme],
}

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

fn seal(context: &Context, arguments: &[&str], file: &Path) -> Result<Ran> {
    command::run(context.composefs().arg("seal").args(arguments).arg(file))
}

/// `composefs seal` of a file, twice: the kernel and `composefs digest` agree with the digest that it prints.
fn seal_enables_fs_verity(context: &Context) -> Result<()> {
    let dir = context.scratch("seal")?;
    for algorithm in Algorithm::ALL {
        let file = dir.join(algorithm.name());
        fs::write(&file, vec![b's'; 100_000])?;
        let option = format!("--algorithm={algorithm}");
        let digest = command::run(context.composefs().args(["digest", &option]).arg(&file))?.success()?.stdout;
        ensure!(measure(File::open(&file)?)? == Measurement::NotEnabled, "{algorithm}: sealed already");
        for sealed in ["now", "before"] {
            let json = seal(context, &[&option, "--json"], &file)?.success()?.stdout;
            ensure!(json.contains(&format!("\"sealed\":\"{sealed}\"")), "{algorithm}: not {sealed}: {json}");
            let said = seal(context, &[&option], &file)?.success()?.stdout;
            ensure!(said == digest, "seal prints {said:?}, digest {digest:?}");
        }
        let measured = context.measure(&file)?;
        ensure!(digest.starts_with(&measured.to_hex()), "the kernel has {measured:?}, not {digest}");
        let other = if algorithm == Algorithm::Sha256 { Algorithm::Sha512 } else { Algorithm::Sha256 };
        let refused = seal(context, &[&format!("--algorithm={other}")], &file)?.exited(1)?;
        refused.says(&format!("{} is already sealed with {algorithm}, not {other}", file.display()))?;
    }
    Ok(())
}

fn seal_refuses_what_the_kernel_refuses(context: &Context) -> Result<()> {
    let file = context.scratch("seal-refused")?.join("file");
    fs::write(&file, "content")?;
    let writer = File::options().write(true).open(&file)?;
    let refused = seal(context, &[], &file)?.exited(1)?;
    refused.says("Text file busy (os error 26): a process has the file open for writing")?;
    drop(writer);
    seal(context, &[], &file)?.success()?;
    Ok(())
}

/// Files on a tmpfs cannot be sealed, and a verified mount of objects there causes a warning.
fn seal_and_mount_name_a_file_system_without_fs_verity(context: &Context) -> Result<()> {
    let dir = context.scratch("seal-tmpfs")?;
    for name in ["tmpfs", "tree", "mnt"] {
        fs::create_dir(dir.join(name))?;
    }
    fs::write(dir.join("tree/file"), vec![b'f'; 10_000])?;
    std::os::unix::fs::symlink(context.composefs().get_program(), dir.join("mkcomposefs"))?;
    let sh = |line: &str| command::run(Command::new("sh").args(["-c", line]).current_dir(&dir));
    sh("mount -t tmpfs tmpfs tmpfs")?.success()?;
    sh("./mkcomposefs --digest-store=objects tree image; ./mkcomposefs --digest-store=tmpfs/objects tree image")?
        .success()?;
    let file = dir.join("tmpfs/file");
    fs::write(&file, "content")?;
    let refused = seal(context, &[], &file)?.exited(1)?;
    refused.says(&format!("{}: tmpfs does not support fs-verity", file.display()))?;
    let mount = |objects: &str| {
        let options = format!("basedir={objects},verity_check=2");
        let mut mount = context.composefs();
        command::run(mount.args(["mount", "image", "mnt", "--dry-run", "-o", &options]).current_dir(&dir))?.success()
    };
    mount("tmpfs/objects")?.says("warning: files with objects in tmpfs/objects cannot be read")?;
    let quiet = mount("objects")?;
    ensure!(quiet.stderr.is_empty(), "warned about a file system with fs-verity: {}", quiet.stderr);
    sh("umount tmpfs")?.success()?;
    Ok(())
}

/// The quick start of README.md, on a small tree. Without fs-verity `cargo xtask e2e guides` runs its first part.
fn seal_and_verified_mount_of_the_readme(context: &Context) -> Result<()> {
    let readme = include_str!("../../../../README.md").replace("/usr/share ", "tree ");
    let block = |mark: &str| -> Result<String> {
        let (_, after) = readme.split_once(mark).with_context(|| format!("README.md has no {mark}"))?;
        Ok(after.split_once("```").context("the block has no end")?.0.to_owned())
    };
    let console: Vec<_> =
        block("```console\n")?.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect();
    ensure!(console.iter().any(|line| line.contains("digest=$digest")), "no verified mount in {console:?}");
    let dir = context.scratch("readme")?;
    fs::create_dir_all(dir.join("tree"))?;
    fs::write(dir.join("tree/file"), vec![b'f'; 10_000])?;
    fs::create_dir(dir.join("bin"))?;
    std::os::unix::fs::symlink(context.composefs().get_program(), dir.join("bin/mkcomposefs"))?;
    std::os::unix::fs::symlink(context.composefs().get_program(), dir.join("bin/composefs"))?;
    let script = format!("PATH=$PWD/bin:$PATH; set -eu\n{}{}\n", block("```sh\n")?, console.join("\n"));
    command::run(Command::new("sh").args(["-c", &script]).current_dir(&dir))?.success()?;
    let read = fs::read(dir.join("mnt/file"))?;
    command::run(context.composefs().arg("umount").arg(dir.join("mnt")))?.success()?;
    ensure!(read == vec![b'f'; 10_000], "another content");
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
