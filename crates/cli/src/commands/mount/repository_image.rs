//! `composefs mount` of an image of a repository.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use anyhow::{Context, bail};
use libcomposefs_image::Digest;
use libcomposefs_mount::{Error, ImageFile, Options, Plan, UnknownOptions};
use libcomposefs_repo::{ImageName, Repository};

use super::RepositoryArgs;
use crate::commands::mount::{self, MountArgs};

pub(crate) fn run(args: &MountArgs, text: &OsStr, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    let name = args.image.to_str().context("the name of an image is UTF-8 text")?;
    let name: ImageName = name.parse()?;
    if mount::has_basedir(text) {
        bail!("basedir= cannot be used with an image of a repository, whose own objects are mounted: leave it out");
    }
    let mut text = text.to_owned();
    if !text.is_empty() {
        text.push(",");
    }
    text.push("basedir=");
    text.push(escaped(repository.objects().path()));
    let options = libcomposefs_mount::parse(&text, UnknownOptions::Refuse)?;
    // Held until it is mounted: from then on gc sees that it is open.
    let reader = repository.reader()?;
    let (digest, file) = reader.open_named(&name)?;
    let image = ImageFile::from_fd(file, &repository.objects().path_of(&digest));
    let options = match demanded(&repository, &image, options, &digest) {
        Ok(options) => options,
        Err(error) => return mount::tell(Err(error), args.json),
    };
    if !repository.demands_verity() {
        // The kernel cannot check it: at least it is what it should be now.
        repository.read_image(&digest)?;
    }
    let outcome = image.header().and_then(|header| {
        let plan = Plan::new(image.path(), &header, &args.target, options).named_by(&digest);
        mount::mount(plan, &image, args.dry_run)
    });
    mount::tell(outcome, args.json)
}

/// The options with what the repository demands of the image `digest`. What the user demands is compared.
fn demanded(
    repository: &Repository,
    image: &ImageFile,
    mut options: Options,
    digest: &Digest,
) -> Result<Options, Error> {
    if repository.demands_verity() {
        options.demand(image.path(), digest)?;
    } else {
        options.expect(image.path(), digest)?;
    }
    Ok(options)
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
