//! A user without privileges, in a user namespace: who verifies, and what an older kernel says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::command::{self, Ran};
use crate::context::Context;
use crate::kernel::Kernels;

super::tests! { "rootless",
    Kernels::Since((6, 16)) => [the_kernel_verifies_the_objects_of_a_user],
    Kernels::Before((6, 16)) => [an_older_kernel_takes_fuse],
}

/// The lines of a shell that the user runs: the mount, its verifier, and the content of a file.
const MOUNT: &str = "composefs --repo=repo mount tree mnt --json | grep -e verified_by -e via; cat mnt/file";

/// Makes a repository that demands fs-verity, and runs lines of a shell as root of a user's namespace.
fn place(context: &Context, name: &str) -> Result<PathBuf> {
    let dir = context.scratch(name)?;
    fs::create_dir(dir.join("tree"))?;
    fs::create_dir(dir.join("mnt"))?;
    fs::write(dir.join("tree/file"), "line\n".repeat(3000))?;
    let composefs = |args: &[&str]| command::run(context.composefs().args(args).current_dir(&dir))?.success();
    composefs(&["--repo=repo", "init"])?;
    composefs(&["--repo=repo", "create", "tree", "--name=tree"])?;
    let open = "test ! -e /dev/fuse || chmod 666 /dev/fuse; chmod -R a+rX repo; chmod 755 .";
    command::run(Command::new("sh").args(["-c", open]).current_dir(&dir))?.success()?;
    Ok(dir)
}

fn as_user(context: &Context, dir: &Path, lines: &str) -> Result<Ran> {
    let composefs = context.composefs();
    let program = Path::new(composefs.get_program());
    let script = format!("composefs() {{ {} \"$@\"; }}; {lines}", program.display());
    command::run(
        Command::new("unshare").args(["-U", "-r", "-m", "sh", "-c", &script]).uid(1000).gid(1000).current_dir(dir),
    )
}

fn the_kernel_verifies_the_objects_of_a_user(context: &Context) -> Result<()> {
    let dir = place(context, "rootless")?;
    let ran = as_user(context, &dir, MOUNT)?.success()?;
    for text in ["\"verified_by\": \"kernel\"", "\"via\": \"overlay\"", &"line\n".repeat(3000)] {
        ensure!(ran.stdout.contains(text), "{} does not say {text:.40}:\n{:.500}", ran.command, ran.stdout);
    }
    let object = object(&dir)?;
    let mut content = fs::read(&object)?;
    fs::remove_file(&object)?;
    content[5000] = b'X';
    fs::write(&object, content)?;
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644))?;
    let ran = as_user(context, &dir, MOUNT)?.exited(1)?;
    ensure!(ran.stdout.contains("\"via\": \"overlay\"") && !ran.stdout.contains('X'), "{}", ran.stdout);
    ensure!(ran.stderr.contains("Input/output error"), "{}", ran.stderr);
    Ok(())
}

/// Returns the object of the file, which is larger than the image.
fn object(dir: &Path) -> Result<PathBuf> {
    let found = command::run(Command::new("sh").args(["-c", "ls repo/objects/*/*"]).current_dir(dir))?.success()?;
    let of_file = |path: &PathBuf| fs::metadata(path).is_ok_and(|metadata| metadata.len() == 15_000);
    found.stdout.lines().map(|line| dir.join(line)).find(of_file).context("the object of the file is missing")
}

fn an_older_kernel_takes_fuse(context: &Context) -> Result<()> {
    let dir = place(context, "rootless")?;
    if !Path::new("/dev/fuse").exists() {
        let refused = as_user(context, &dir, "composefs --repo=repo mount tree mnt")?.exited(1)?;
        ensure!(refused.stderr.contains("/dev/fuse"), "{}", refused.stderr);
        return Ok(());
    }
    let ran = as_user(context, &dir, MOUNT)?.success()?;
    for text in ["\"verified_by\": \"server\"", "\"via\": \"fuse\"", &"line\n".repeat(3000)] {
        ensure!(ran.stdout.contains(text), "{} does not say {text:.40}:\n{:.500}", ran.command, ran.stdout);
    }
    let refused = as_user(context, &dir, "composefs --repo=repo mount tree mnt --via=overlay")?.exited(1)?;
    ensure!(refused.stderr.contains("use --via=fuse"), "{}", refused.stderr);
    Ok(())
}
