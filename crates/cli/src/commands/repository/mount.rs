//! `composefs mount` of an image of a repository.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use anyhow::Context;
use composefs_mount::{ImageFile, Plan, UnknownOptions, Verity};
use composefs_store::repository::{ImageName, Lease, Repository};

use super::Which;
use crate::commands::mount::{self, Args};

pub(crate) fn run(args: &Args, text: &OsStr, which: &Which) -> anyhow::Result<()> {
    let repository = which.open()?;
    let name = args.image.to_str().context("the name of an image is UTF-8 text")?;
    let name: ImageName = name.parse()?;
    let mut text = text.to_owned();
    if !text.is_empty() {
        text.push(",");
    }
    text.push("basedir=");
    text.push(escaped(repository.objects().path()));
    let mut options = composefs_mount::parse(&text, UnknownOptions::Refuse)?;
    // Held until it is mounted: from then on gc sees that it is open.
    let (digest, _lease) = claim(&repository, &name)?;
    let image = ImageFile::from_fd(repository.open_image(&digest)?, &repository.objects().path_of(&digest));
    if repository.demands_verity() {
        options.digest = Some(digest);
        options.verity = Verity::Require;
    } else {
        // The kernel cannot check it: at least it is what it should be now.
        repository.read_image(&digest)?;
    }
    let outcome = image.header().and_then(|header| {
        let plan = Plan::new(image.path(), &header, &args.target, options).named_by(&digest);
        mount::mount(plan, &image, args.dry_run)
    });
    mount::tell(outcome, args.json)
}

/// Finds an image, which stays as long as the lease. Where none can be written nothing can be removed either.
fn claim(repository: &Repository, name: &ImageName) -> anyhow::Result<(composefs_image::Digest, Option<Lease>)> {
    let lease = repository.lease().ok();
    let digest = repository.resolve(name)?;
    if let Some(lease) = &lease {
        lease.claim(&[digest])?;
    }
    repository.expect_image(name, &digest)?;
    Ok((digest, lease))
}

/// A path as a value of `basedir`: a comma, a colon and a backslash would end or divide it.
fn escaped(path: &Path) -> OsString {
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b',' | b':' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(*byte);
    }
    OsString::from_vec(escaped)
}
