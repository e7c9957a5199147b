//! Objects that the kernel vouches for: trusted without reading, unless a read is requested.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::command::{self, Ran};
use crate::context::Context;
use crate::kernel::Kernels;

super::tests! { "vouched", Kernels::All => [check_cat_and_extract_believe_the_kernel] }

/// An image with objects of its own.
struct Scene<'c> {
    context: &'c Context,
    dir: PathBuf,
}

impl Scene<'_> {
    fn composefs(&self, words: &str) -> Result<Ran> {
        command::run(self.context.composefs().args(words.split(' ')).current_dir(&self.dir))
    }

    fn object(&self) -> Result<PathBuf> {
        let found = self.composefs("stat --json rootfs.img /large")?.success()?;
        let digest =
            found.stdout.split('"').find(|word| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit()));
        let digest = digest.unwrap_or_default();
        ensure!(digest.len() == 64, "no digest in {}", found.stdout);
        Ok(self.dir.join("objects").join(&digest[..2]).join(&digest[2..]))
    }
}

fn check_cat_and_extract_believe_the_kernel(context: &Context) -> Result<()> {
    let scene = Scene { context, dir: context.scratch("vouched")? };
    let tree = scene.dir.join("rootfs");
    fs::create_dir(&tree)?;
    let large: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(tree.join("large"), &large)?;
    fs::write(tree.join("small"), [b's'; 1000])?;
    let program = scene.dir.join("mkcomposefs");
    symlink(context.composefs().get_program(), &program)?;
    let mut build = Command::new(&program);
    command::run(build.args(["--digest-store=objects", "rootfs", "rootfs.img"]).current_dir(&scene.dir))?.success()?;

    vouched_for(&scene, &large)?;
    damaged_behind_its_back(&scene)
}

fn vouched_for(scene: &Scene<'_>, large: &[u8]) -> Result<()> {
    let counts = |options: &str| -> Result<(bool, bool)> {
        let said = scene.composefs(&format!("check --json --basedir=objects {options}rootfs.img"))?.success()?.stdout;
        let said: String = said.split_whitespace().collect();
        Ok((said.contains("\"vouched\":2"), said.contains("\"read\":2")))
    };
    ensure!(counts("")? == (true, false), "the kernel was not believed");
    ensure!(counts("--read ")? == (false, true), "nothing was read");
    let mut cat = scene.context.composefs();
    cat.args(["cat", "--basedir=objects", "rootfs.img", "/large"]).current_dir(&scene.dir);
    ensure!(cat.output()?.stdout == large, "cat prints something else");
    scene.composefs("extract rootfs.img out --basedir=objects")?.success()?;
    ensure!(fs::read(scene.dir.join("out/large"))? == large, "something else is extracted");
    Ok(())
}

/// Another file under the object's name, sealed as well: the kernel vouches, but for something else.
fn damaged_behind_its_back(scene: &Scene<'_>) -> Result<()> {
    let object = scene.object()?;
    let other = scene.dir.join("other");
    fs::write(&other, vec![b'x'; 3_000_000])?;
    command::run(Command::new("fsverity").args(["enable", "--block-size=4096"]).arg(&other))?.success()?;
    fs::rename(&other, &object)?;
    let shown = Path::new("objects").join(object.strip_prefix(scene.dir.join("objects"))?);
    let shown = shown.to_string_lossy();
    let checked = scene.composefs("check --basedir=objects rootfs.img")?.exited(1)?;
    ensure!(checked.stdout.contains(&*shown) || checked.stderr.contains(&*shown), "{checked:?} does not name {shown}");
    let printed = scene.composefs("cat --basedir=objects rootfs.img /large")?.exited(1)?.says(&shown)?;
    ensure!(printed.stdout.is_empty(), "something was printed");
    scene.composefs("extract rootfs.img again --basedir=objects")?.exited(1)?;
    let names: Vec<_> =
        fs::read_dir(scene.dir.join("again"))?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    ensure!(names == ["small"], "{names:?}");
    Ok(())
}
