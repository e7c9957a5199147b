//! `composefs why`: prints what keeps an object or image.

use std::process::ExitCode;

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Digest;
use libcomposefs_repo::Reasons;
use serde_json::{Map, json};

use super::{RepositoryArgs, counted};
use crate::complete;
use crate::exit::exit_answer;
use crate::inspect::names::NameFormat;
use crate::json::put_bytes;
use crate::output;

/// Print what keeps an object or an image in a repository: names, images, mounts, streams, running commands.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WhyArgs {
    /// Digest of the object or image
    #[arg(value_name = "DIGEST", add = ArgValueCompleter::new(complete::images))]
    digest: Digest,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images why 029cc8af231b4d76c3618cc37232dc590a33379e838d927f542e18455ca5e655
  composefs --repo=/srv/images why $(composefs digest /bin/sh | cut -d' ' -f1)

Exit status: 0 if something keeps it, 1 if gc would remove it or it does not exist, 2 on error.";

pub(crate) fn run(args: &WhyArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_answer(explain(args, selected))
}

fn explain(args: &WhyArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let reasons = selected.open()?.why(&args.digest)?;
    if args.json {
        output::json(&reasons_json(&reasons));
    } else {
        print(&reasons);
    }
    Ok(reasons.is_there && reasons.is_kept())
}

fn print(reasons: &Reasons) {
    for keeper in &reasons.images {
        let names: Vec<_> = keeper.names.iter().map(|name| name.as_str()).collect();
        let mut line = format!("image {}", keeper.image);
        line.push_str(&if names.is_empty() {
            ", without a name".into()
        } else {
            format!(", named {}", names.join(", "))
        });
        if !keeper.others.is_empty() {
            let others: Vec<_> = keeper.others.iter().map(|path| NameFormat::Escaped.text(path.as_bytes())).collect();
            line.push_str(&format!(", kept by {}", others.join(", ")));
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
    reasons.streams.iter().for_each(|name| out!("stream {}", NameFormat::Escaped.text(name.as_bytes())));
    if reasons.is_claimed {
        out!("a running command claims it");
    }
    for image in &reasons.unreadable {
        out!("image {image} cannot be read, and may need it: run `composefs fsck`");
    }
    match (reasons.is_there, reasons.is_kept()) {
        (false, _) => out!("it does not exist"),
        (true, false) => out!("nothing keeps it: gc removes it once it is older than the grace"),
        (true, true) => {}
    }
}

fn reasons_json(reasons: &Reasons) -> serde_json::Value {
    let images = reasons.images.iter().map(|keeper| {
        let mut json = Map::new();
        json.insert("image".into(), keeper.image.to_hex().into());
        json.insert("refs".into(), keeper.names.iter().map(|name| name.as_str()).collect::<Vec<_>>().into());
        json.insert("others".into(), keeper.others.clone().into());
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
        "streams": reasons.streams,
        "claimed": reasons.is_claimed,
        "unreadable": reasons.unreadable.iter().map(Digest::to_hex).collect::<Vec<_>>(),
    })
}
