//! `composefs images`: lists the images of a repository.

use std::io::Write;
use std::process::ExitCode;

use libcomposefs_repo::Images;
use serde_json::json;

use super::RepositoryArgs;
use crate::exit::exit_partial;
use crate::output;

/// List the images of a repository, with their names.
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
  composefs --repo=/srv/images images --json | jq -r '.images[] | select(.refs == []) | .digest'

Exit status: 0, or 1 if a name leads to no image or the repository cannot be read.";

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
    if args.json {
        output::json(&images_json(&images));
    } else {
        print(args, &images)?;
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
    Ok(images.dangling.is_empty() && images.broken.is_empty())
}

fn print(args: &ImagesArgs, images: &Images) -> anyhow::Result<()> {
    let mut out = output::text();
    for image in &images.images {
        if args.quiet {
            image.refs.iter().try_for_each(|name| writeln!(out, "{name}"))?;
            continue;
        }
        let names: Vec<_> = image.refs.iter().map(|name| name.as_str()).collect();
        let size = image.size.map_or_else(|| "missing".into(), |size| size.to_string());
        writeln!(out, "{} {size:>12} {}", image.digest, names.join(" "))?;
    }
    Ok(())
}

fn images_json(images: &Images) -> serde_json::Value {
    let list = images.images.iter().map(|image| {
        json!({
            "digest": image.digest.to_hex(),
            "size": image.size,
            "refs": image.refs.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        })
    });
    let dangling =
        images.dangling.iter().map(|(name, digest)| json!({ "ref": name.as_str(), "digest": digest.to_hex() }));
    let broken = images.broken.iter().map(|b| json!({ "path": b.path.to_string_lossy(), "found": b.found }));
    json!({
        "images": list.collect::<Vec<_>>(),
        "dangling": dangling.collect::<Vec<_>>(),
        "broken": broken.collect::<Vec<_>>(),
    })
}
