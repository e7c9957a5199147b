//! `composefs init`: creates a repository.

use std::path::PathBuf;

use libcomposefs_image::Algorithm;
use libcomposefs_repo::{Format, Opener, Repository, Settings};
use serde_json::json;

use super::{RepositoryArgs, openers_text};

use crate::output;

/// Create a repository.
///
/// Only its owner may access it. Every object in it has fs-verity, and every mount from it requires that, unless
/// --insecure is given. If a repository with the same settings exists, it is not changed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InitArgs {
    /// Directory, new or empty; replaces --repo
    #[arg(value_name = "DIR")]
    path: Option<PathBuf>,
    /// Algorithm of all digests
    #[arg(long, value_name = "sha256|sha512", default_value = "sha256")]
    algorithm: Algorithm,
    /// Do not use fs-verity: then only fsck detects changed objects
    #[arg(long)]
    insecure: bool,
    /// Format of all images: chosen as in mkcomposefs (0), always 1, or that of old bootc repositories (2)
    #[arg(long, value_name = "0|1|2", default_value = "0", value_parser = format)]
    format: Format,
    /// Print the settings as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs init /srv/images
  composefs --repo=/srv/images init --algorithm=sha512
  composefs --user init --insecure";

fn format(text: &str) -> Result<Format, String> {
    match text {
        "0" => Ok(Format::Auto),
        "1" => Ok(Format::One),
        "2" => Ok(Format::Legacy),
        _ => Err("expected 0, 1 or 2".into()),
    }
}

pub(crate) fn run(args: &InitArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let path = args.path.clone().map_or_else(|| selected.path(), Ok)?;
    let settings = Settings { algorithm: args.algorithm, demands_verity: !args.insecure, format: args.format };
    let (repository, made) = Repository::init(&path, settings)?;
    let openers = repository.openers()?;
    if let Some(text) = openers_text(&openers) {
        let path = path.display();
        tell!("composefs: note: {text}: chmod go-r {path} unless they work in it");
    }
    if args.json {
        let json = json!({
            "repository": repository.path().to_string_lossy(),
            "made": made,
            "algorithm": repository.algorithm().name(),
            "verity": repository.demands_verity(),
            "lockable_by": openers.iter().map(Opener::to_string).collect::<Vec<_>>(),
        });
        output::json(&json);
    }
    Ok(())
}
