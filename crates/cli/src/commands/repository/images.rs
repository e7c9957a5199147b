//! `composefs images`: lists the images of a repository.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;

use libcomposefs_image::Digest;
use libcomposefs_oci::stored::{StoredError, StoredImage};
use libcomposefs_oci::stored_layer_images::stored_layer_images;
use libcomposefs_repo::cold::{ColdImage, ColdImages};
use libcomposefs_repo::{Images, Repository};
use serde_json::json;

use super::RepositoryArgs;
use super::images_trust::ImagesTrust;
use super::partial::{ListedPartial, PartialList};
use crate::error_text::print_error;
use crate::exit::exit_partial;
use crate::output;

/// List the images of a repository, with their names.
///
/// Prints the digest, the size, the kind of the names that follow, and the names. A name is a ref (kind `ref`), or the
/// name of an OCI image from which the image was made (kind `oci`; `composefs oci images` has more about it), all of it
/// or a single layer (kind `layer`). An image without a name has the kind `-`. Of a cold image (kind `cold`), the size
/// is that of its pack: see `composefs repack`. Of a partial image (kind `partial`), which `composefs mount --lazy`
/// makes, the size is that of its objects that are here.
///
/// With a policy, a line for each name says by whose signatures and under which rule the policy accepts the image under
/// that name, or why a mount would refuse it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImagesArgs {
    /// Print only the names, one per line
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
    /// Print the digests of all objects instead, one per line, for `export --have-list` elsewhere
    #[arg(long, conflicts_with_all = ["quiet", "json"])]
    objects: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images images
  composefs --repo=/srv/images images --json | jq -r '.images[] | select(.refs + .oci + .layer_of == []) | .digest'

Exit status: 0, or 1 if a name leads to no image, or the repository or a policy cannot be read.";

pub(crate) fn run(args: &ImagesArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_partial(list(args, selected))
}

fn list(args: &ImagesArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let repository = selected.open()?;
    if args.objects {
        let mut out = output::text();
        for digest in repository.objects().list() {
            writeln!(out, "{}", digest?)?;
        }
        out.flush()?;
        return Ok(true);
    }
    let images = repository.images()?;
    let tags = ImageTags::read(&repository)?;
    let cold = repository.cold_images()?;
    let partial = PartialList::read(&repository)?;
    // Without a policy that can be read, the images are listed all the same.
    let trust = if args.quiet { Ok(None) } else { ImagesTrust::load(&repository) };
    let is_policy_sound = trust.as_ref().inspect_err(|error| print_error("composefs", error)).is_ok();
    let trust = trust.ok().flatten();
    if args.json {
        output::json(&images_json(&images, &tags, &cold, &partial, trust.as_ref())?);
    } else {
        print(args, &images, &tags, &cold, trust.as_ref())?;
        print_partial(args, &partial)?;
    }
    for wrong in &partial.wrong {
        tell!("composefs: {wrong}: run `composefs fsck`");
    }
    for (_, error) in &cold.broken {
        tell!("composefs: {error}: run `composefs fsck`");
    }
    for (name, digest) in &cold.dangling {
        tell!("composefs: {name} is a name of the cold image {digest}, which does not exist: run `composefs fsck`");
    }
    for (name, error) in &tags.unreadable {
        tell!("composefs: {name}: {error}");
    }
    for (name, digest) in &images.dangling {
        tell!("composefs: {name} is a name of {digest}, but that image does not exist: run `composefs fsck`");
    }
    for broken in &images.broken {
        tell!(
            "composefs: {} {}; `composefs gc --dry-run` shows whether it keeps an image",
            broken.path.display(),
            broken.found
        );
    }
    let is_cold_sound = cold.broken.is_empty() && cold.dangling.is_empty();
    Ok(is_policy_sound
        && is_cold_sound
        && partial.wrong.is_empty()
        && images.dangling.is_empty()
        && images.broken.is_empty()
        && tags.unreadable.is_empty())
}

/// The names of OCI images, by the composefs images that were made of them.
#[derive(Default)]
struct ImageTags {
    by_image: BTreeMap<Digest, Vec<String>>,
    /// The names by the images of single layers.
    by_layer: BTreeMap<Digest, BTreeSet<String>>,
    /// Names whose image cannot be read, with the reason.
    unreadable: Vec<(String, String)>,
}

impl ImageTags {
    fn read(repository: &Repository) -> anyhow::Result<Self> {
        let mut tags = Self::default();
        for (tag, _) in repository.stream_tags()? {
            match StoredImage::by_tag(repository, &tag) {
                Ok(image) => {
                    // `oci inspect` says what is wrong with them.
                    for layer in stored_layer_images(repository, &image).ok().flatten().unwrap_or_default() {
                        tags.by_layer.entry(layer).or_default().insert(tag.to_string());
                    }
                    for named in image.images {
                        let names = tags.by_image.entry(named.digest).or_default();
                        if names.last().is_none_or(|name| name != tag.as_str()) {
                            names.push(tag.to_string());
                        }
                    }
                }
                // Removed meanwhile.
                Err(StoredError::NoImage { .. }) => {}
                Err(error) => tags.unreadable.push((tag.to_string(), error.to_string())),
            }
        }
        Ok(tags)
    }

    /// Returns the names of OCI images that an image is of a single layer of, and not of the whole.
    fn of_layer(&self, image: &Digest) -> Vec<&str> {
        let names = self.by_layer.get(image).into_iter().flatten().map(String::as_str);
        names.filter(|name| !self.of(image).iter().any(|whole| whole == name)).collect()
    }

    fn of(&self, image: &Digest) -> &[String] {
        self.by_image.get(image).map_or(&[], Vec::as_slice)
    }
}

fn print(
    args: &ImagesArgs,
    images: &Images,
    tags: &ImageTags,
    cold: &ColdImages,
    trust: Option<&ImagesTrust<'_>>,
) -> anyhow::Result<()> {
    let mut out = output::text();
    for image in &images.images {
        let refs: Vec<_> = image.refs.iter().map(|name| name.as_str()).collect();
        let layers = tags.of_layer(&image.digest);
        let tags: Vec<_> = tags.of(&image.digest).iter().map(String::as_str).collect();
        if args.quiet {
            refs.iter().chain(&tags).try_for_each(|name| writeln!(out, "{name}"))?;
            continue;
        }
        let size = image.size.map_or_else(|| "missing".into(), |size| size.to_string());
        let mut line =
            |kind, names: &[&str]| writeln!(out, "{} {size:>12} {kind:<3} {}", image.digest, names.join(" "));
        if refs.is_empty() && tags.is_empty() && layers.is_empty() {
            line("-", &[])?;
        }
        for (kind, names) in [("ref", &refs), ("oci", &tags), ("layer", &layers)] {
            if !names.is_empty() {
                line(kind, names)?;
            }
        }
        if let Some(trust) = trust {
            trust.print(&mut out, &image.digest, &[refs, tags].concat())?;
        }
    }
    for ColdImage { digest, refs, entry, .. } in &cold.images {
        let names: Vec<_> = refs.iter().map(|name| name.as_str()).collect();
        if args.quiet {
            names.iter().try_for_each(|name| writeln!(out, "{name}"))?;
        } else {
            writeln!(out, "{digest} {:>12} cold {}", entry.pack_size, names.join(" "))?;
        }
    }
    Ok(())
}

fn print_partial(args: &ImagesArgs, partial: &PartialList) -> anyhow::Result<()> {
    let mut out = output::text();
    for one in &partial.images {
        let names: Vec<_> = one.image.refs.iter().map(|name| name.as_str()).collect();
        if args.quiet {
            names.iter().try_for_each(|name| writeln!(out, "{name}"))?;
            continue;
        }
        let (digest, size, here) = (one.image.digest, one.bytes_here(), one.progress_text());
        writeln!(out, "{digest} {size:>12} partial {} ({here})", names.join(" "))?;
    }
    Ok(())
}

fn images_json(
    images: &Images,
    tags: &ImageTags,
    cold: &ColdImages,
    partial: &PartialList,
    trust: Option<&ImagesTrust<'_>>,
) -> anyhow::Result<serde_json::Value> {
    let list = images.images.iter().map(|image| {
        let names = image.refs.iter().map(|name| name.as_str());
        let names: Vec<_> = names.chain(tags.of(&image.digest).iter().map(String::as_str)).collect();
        let trust = trust.map(|trust| trust.json(&image.digest, &names)).transpose()?;
        Ok(json!({
            "digest": image.digest.to_hex(),
            "size": image.size,
            "refs": image.refs.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
            "oci": tags.of(&image.digest),
            "layer_of": tags.of_layer(&image.digest),
            "trust": trust,
        }))
    });
    let cold = cold.images.iter().map(|ColdImage { digest, refs, entry, .. }| {
        json!({
            "digest": digest.to_hex(),
            "refs": refs.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
            "base": entry.base.map(|base| base.to_hex()),
            "objects": entry.objects,
            "bytes": entry.bytes,
            "pack_size": entry.pack_size,
        })
    });
    let dangling =
        images.dangling.iter().map(|(name, digest)| json!({ "ref": name.as_str(), "digest": digest.to_hex() }));
    let broken = images.broken.iter().map(|b| json!({ "path": b.path.to_string_lossy(), "found": b.found }));
    Ok(json!({
        "images": list.collect::<anyhow::Result<Vec<_>>>()?,
        "cold": cold.collect::<Vec<_>>(),
        "partial": partial.images.iter().map(ListedPartial::json).collect::<Vec<_>>(),
        "dangling": dangling.collect::<Vec<_>>(),
        "broken": broken.collect::<Vec<_>>(),
    }))
}
