//! `composefs why`: prints what keeps an object or image.

use std::process::ExitCode;

use anyhow::bail;
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Digest;
use libcomposefs_repo::cold::{ColdImage, PackedIn};
use libcomposefs_repo::{Reasons, RefName, StreamKeeper};
use serde_json::{Map, json};

use super::{RepositoryArgs, counted, why_target};
use crate::complete;
use crate::exit::exit_answer;
use crate::inspect::names::NameFormat;
use crate::json::put_bytes;
use crate::output;

/// Print what keeps an object or an image in a repository: names, images, mounts, streams, running commands.
///
/// Of a stream it prints the way from a tag to it: the manifest and the configuration of an OCI image. Without a tag, a
/// stream of an OCI image keeps nothing. A cold image keeps what is in its pack. A name means its composefs image.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WhyArgs {
    /// Digest of the object or image; sha256:HEX of a manifest, configuration or layer of an OCI image; or a name
    #[arg(value_name = "DIGEST|NAME", add = ArgValueCompleter::new(complete::images))]
    what: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images why 029cc8af231b4d76c3618cc37232dc590a33379e838d927f542e18455ca5e655
  composefs --repo=/srv/images why $(composefs digest /bin/sh | cut -d' ' -f1)
  composefs --repo=/srv/images why debian:13

Exit status: 0 if something keeps it, 1 if gc would remove it or it does not exist, 2 on error. If the pack of a cold
image cannot be read and nothing else keeps it, the answer is not known, and the status is 2.";

pub(crate) fn run(args: &WhyArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_answer(explain(args, selected))
}

fn explain(args: &WhyArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let repository = selected.open()?;
    let found = why_target::find(&repository, &args.what, selected.names())?;
    let (reasons, cold) = match &found {
        Some(digest) => (repository.why(digest)?, repository.cold_images_with(digest)?),
        None => (Reasons::default(), PackedIn::default()),
    };
    let is_packed = cold.images.iter().any(|image| !image.refs.is_empty());
    if args.json {
        output::json(&reasons_json(&reasons, &cold));
    } else {
        cold.images.iter().for_each(|image| out!("{}", cold_text(image, found.as_ref())));
        print(&reasons, !cold.images.is_empty());
    }
    let is_kept = is_packed || reasons.is_there && reasons.is_kept();
    match cold.unreadable.first() {
        Some((image, error)) if !is_kept => {
            bail!("cold image {image} cannot be read, and may have it: {error} (`composefs fsck` has more)")
        }
        _ => Ok(is_kept),
    }
}

/// Describes a cold image whose pack has the object.
fn cold_text(image: &ColdImage, digest: Option<&Digest>) -> String {
    let names: Vec<_> = image.refs.iter().map(RefName::as_str).collect();
    let named = if names.is_empty() { "without a name".into() } else { format!("named {}", names.join(", ")) };
    let what = if Some(&image.digest) == digest { ": this image itself" } else { "" };
    format!("cold image {}, {named}, has it in its pack{what}", image.digest)
}

fn print(reasons: &Reasons, is_packed: bool) {
    for keeper in &reasons.images {
        let names: Vec<_> = keeper.names.iter().map(|name| name.as_str()).collect();
        let mut line = format!("image {}", keeper.image);
        line.push_str(&if names.is_empty() {
            ", without a name".into()
        } else {
            format!(", named {}", names.join(", "))
        });
        let others = keeper.others.iter().map(|path| NameFormat::Escaped.text(path.as_bytes()));
        let others: Vec<_> = others.chain(keeper.streams.iter().map(stream_text)).collect();
        if !others.is_empty() {
            let word = if keeper.is_kept() { "kept by" } else { "named by" };
            line.push_str(&format!(", {word} {}", others.join(", ")));
        }
        if keeper.in_use {
            line.push_str(", mounted or open");
        }
        match &keeper.files {
            None => line.push_str(": this image itself"),
            Some((path, count)) => {
                line.push_str(&format!(": {}", NameFormat::Escaped.text(path)));
                if *count > 1 {
                    line.push_str(&format!(" and {}", counted(count - 1, "other file")));
                }
            }
        }
        out!("{line}");
    }
    // The way to the image has been printed above.
    let is_image =
        |keeper: &StreamKeeper| reasons.images.iter().any(|i| i.files.is_none() && i.streams.contains(keeper));
    for keeper in reasons.streams.iter().filter(|keeper| !is_image(keeper)) {
        out!("{}", stream_text(keeper));
    }
    if reasons.is_claimed {
        out!("a running command claims it");
    }
    for image in &reasons.unreadable {
        out!("image {image} cannot be read, and may need it: run `composefs fsck`");
    }
    match (reasons.is_there, reasons.is_kept()) {
        (false, _) if is_packed => out!("it is no file: `composefs repack --warm` unpacks it"),
        (false, _) => out!("it does not exist"),
        (true, false) => out!("nothing keeps it: gc removes it once it is older than the grace"),
        (true, true) => {}
    }
}

/// Describes a stream with what keeps it: the way to it from a tag, and the number of other names.
fn stream_text(keeper: &StreamKeeper) -> String {
    let escaped = |name: &str| NameFormat::Escaped.text(name.as_bytes());
    let text = format!("streams/{}", escaped(&keeper.name));
    let Some((_, above)) = keeper.path.split_last() else { return format!("{text} (untagged)") };
    let from = keeper.from.iter().map(|name| match name.starts_with("streams/") {
        true => escaped(name),
        false => format!("tag {}", escaped(name)),
    });
    let way: Vec<_> = from.chain(above.iter().map(|name| escaped(name))).collect();
    let others = match keeper.tags.len() {
        0 | 1 => String::new(),
        count => format!("; {}", counted(count as u64 - 1, "other name")),
    };
    if way.is_empty() { text } else { format!("{text} ({}{others})", way.join(" -> ")) }
}

fn streams_json(keepers: &[StreamKeeper]) -> serde_json::Value {
    let json = |keeper: &StreamKeeper| {
        let path: Vec<_> = keeper.from.iter().chain(&keeper.path).collect();
        json!({ "stream": keeper.name, "kept": keeper.is_kept(), "tags": keeper.tags, "path": path })
    };
    keepers.iter().map(json).collect()
}

fn reasons_json(reasons: &Reasons, packed: &PackedIn) -> serde_json::Value {
    let cold = packed.images.iter().map(|image| {
        json!({ "image": image.digest.to_hex(), "refs": image.refs.iter().map(RefName::as_str).collect::<Vec<_>>() })
    });
    let images = reasons.images.iter().map(|keeper| {
        let mut json = Map::new();
        json.insert("image".into(), keeper.image.to_hex().into());
        json.insert("refs".into(), keeper.names.iter().map(|name| name.as_str()).collect::<Vec<_>>().into());
        let streams = keeper.streams.iter().map(|stream| format!("streams/{}", stream.name));
        let others: Vec<String> = keeper.others.iter().cloned().chain(streams).collect();
        json.insert("others".into(), others.into());
        json.insert("by_streams".into(), streams_json(&keeper.streams));
        json.insert("in_use".into(), keeper.in_use.into());
        if let Some((path, count)) = &keeper.files {
            put_bytes(&mut json, "path", path);
            json.insert("files".into(), (*count).into());
        }
        json
    });
    json!({
        "there": reasons.is_there,
        "kept": reasons.is_kept(),
        "images": images.collect::<Vec<_>>(),
        "streams": reasons.streams.iter().map(|keeper| keeper.name.as_str()).collect::<Vec<_>>(),
        "by_streams": streams_json(&reasons.streams),
        "cold": cold.collect::<Vec<_>>(),
        "cold_unreadable": packed.unreadable.iter().map(|(image, _)| image.to_hex()).collect::<Vec<_>>(),
        "claimed": reasons.is_claimed,
        "unreadable": reasons.unreadable.iter().map(Digest::to_hex).collect::<Vec<_>>(),
    })
}
