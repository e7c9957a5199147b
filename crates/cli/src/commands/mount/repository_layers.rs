//! `composefs oci mount --per-layer`: mounts the images of single layers as one file system.

use std::ffi::OsStr;
use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use libcomposefs_image::Digest;
use libcomposefs_mount::{ImageFile, KernelFeatures, Options, Plan, UnknownOptions};
use libcomposefs_repo::{ImageName, Repository};
use serde_json::json;

use super::repository_image::{compare, demanded, trusted};
use super::{MountArgs, report};
use crate::output;
use crate::trust::NamedImage;
use crate::trust::image_file::expect_no_policy;

impl MountArgs {
    /// Mounts the images of the layers of an image, the lowest first, joined to one file system. `image_digest` is
    /// that of the image of the whole file system, which the policies judge too.
    pub(crate) fn run_layers(
        &self,
        repository: &Repository,
        image_digest: Digest,
        digests: &[Digest],
    ) -> anyhow::Result<()> {
        let options = Options::parse(&self.options.join(OsStr::new(",")), UnknownOptions::Refuse)?;
        if !options.basedirs.is_empty() {
            bail!("basedir= cannot be used with images of a repository, which has its own objects: leave it out");
        }
        expect_no_policy(&options)?;
        if options.digest().is_some() {
            bail!("digest= cannot be used with --per-layer, which mounts several images: leave it out");
        }
        // Hold the lease until the images are mounted: from then on gc detects that they are in use.
        let reader = repository.reader()?;
        let named = self.judged_as.as_ref().map(|name| NamedImage { name, digest: image_digest });
        if let Some(named) = named {
            trusted(repository, named, true)?;
        }
        let mut layers = Vec::new();
        for digest in digests {
            let (digest, file) = reader.open_named(&ImageName::Digest(*digest))?;
            let image = ImageFile::from_fd(file, &repository.objects().path_of(&digest));
            let mut own = options.clone().with_basedir(repository.objects().path());
            (own.upper, own.flags) = (None, Options::default().flags);
            let own = demanded(repository, &image, own, &digest).map_err(|error| report::error(self, &error))?;
            compare(repository, &image, &digest)?;
            let hex = digest.to_hex();
            let name = self.judged_as.as_deref().unwrap_or(&hex);
            trusted(repository, NamedImage { name, digest }, self.dry_run)?;
            let header = image.header().map_err(|error| report::error(self, &error))?;
            layers.push((Plan::new(image.path(), &header, own).named_by(&digest), image));
        }
        let ((top, image), digest) = layers.last().zip(digests.last()).context("the image has no layers")?;
        let header = image.header().map_err(|error| report::error(self, &error))?;
        let whole = Plan::new(&top.image, &header, options).named_by(digest);
        if !self.dry_run {
            whole.mount_layers_at(&layers, &self.target, KernelFeatures::default()).map_err(|error| {
                report::error(self, &error).context(
                    "the images of the layers cannot be joined, which needs Linux 6.7; without --per-layer the image \
                     of the whole file system is mounted",
                )
            })?;
        }
        self.print_layers(digests, &whole)
    }

    fn print_layers(&self, digests: &[Digest], whole: &Plan) -> anyhow::Result<()> {
        if self.json {
            output::json(&json!({
                "layers": digests.iter().map(Digest::to_hex).collect::<Vec<_>>(),
                "target": self.target.to_string_lossy(),
                "attributes": whole.options().flags.to_string(),
                "mounted": !self.dry_run,
            }));
            if let (Err(unwritable), false) = (output::flush(), self.dry_run) {
                libcomposefs_mount::umount(&self.target, false)?;
                return Err(unwritable.into());
            }
        } else if self.dry_run {
            let mut text = String::new();
            for (number, digest) in digests.iter().enumerate() {
                writeln!(text, "layer {:<3} {digest}", number + 1)?;
            }
            let target = output::escaped(&self.target.to_string_lossy());
            writeln!(text, "overlay   the layers, the last one on top")?;
            writeln!(text, "mount     {target} ({})", whole.options().flags)?;
            output::block(&text);
        }
        Ok(())
    }
}
