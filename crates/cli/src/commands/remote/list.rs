//! `composefs remote list`: lists the remotes of a repository, or the refs of one.

use clap_complete::engine::ArgValueCompleter;
use libcomposefs_delivery::{FileKind, FileName, Patience, Remote, RemoteStore};
use libcomposefs_repo::{RefName, Repository};
use serde_json::{Value, json};

use super::open::open;
use super::operand::RemoteOperand;
use super::server_args::ServerArgs;
use crate::commands::repository::RepositoryArgs;
use crate::{complete, output};

/// List the remotes of the repository with their locations, or the refs of a remote.
///
/// A ref of a remote is printed with the digest of its image.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RemoteListArgs {
    /// Remote whose refs are listed: a name, a URL or a directory [default: list the remotes]
    #[arg(value_name = "REMOTE", add = ArgValueCompleter::new(complete::remotes))]
    remote: Option<RemoteOperand>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images remote list
  composefs --repo=/srv/images remote list backup";

pub(super) fn run(args: &RemoteListArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let mut listed = Vec::new();
    let mut report = |line: String, json: Value| if args.json { listed.push(json) } else { out!("{line}") };
    match &args.remote {
        None => list_remotes(&selected.open()?, &mut report)?,
        Some(remote) => list_refs(&*open(remote, selected, &args.server)?, &mut report)?,
    }
    if args.json {
        output::json(&Value::Array(listed));
    }
    Ok(())
}

fn list_remotes(repository: &Repository, report: &mut dyn FnMut(String, Value)) -> anyhow::Result<()> {
    for name in repository.remotes()? {
        let url = repository.remote(&name)?.url;
        report(format!("{name} {}", output::escaped(&url)), json!({ "name": name.as_str(), "url": url }));
    }
    Ok(())
}

fn list_refs(store: &dyn RemoteStore, report: &mut dyn FnMut(String, Value)) -> anyhow::Result<()> {
    let remote = Remote::new(store, Patience::default());
    remote.check_layout()?;
    let files = remote.patience().access(|| store.list(FileKind::Ref))?;
    let mut names: Vec<RefName> = files.into_iter().filter_map(|file| ref_of(file.name)).collect();
    names.sort();
    for name in names {
        // A ref that went away meanwhile is not listed.
        if let Some(found) = remote.read_ref(&name)? {
            let digest = found.document.image.digest.to_hex();
            report(format!("{digest} {name}"), json!({ "name": name.as_str(), "digest": digest }));
        }
    }
    Ok(())
}

fn ref_of(file: FileName) -> Option<RefName> {
    match file {
        FileName::Ref(name) => Some(name),
        _ => None,
    }
}
