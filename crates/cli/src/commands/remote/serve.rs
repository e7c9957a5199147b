//! `composefs remote serve`: gives another machine access to a remote in a directory.

use std::io;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use libcomposefs_delivery::DirectoryStore;
use libcomposefs_remote::serve;

use crate::output;

/// Serve a remote in a directory to another machine, over standard input and output.
///
/// `push`, `pull` and `plan` start this command by ssh for a remote of the form ssh://HOST/PATH. As a forced command in
/// authorized_keys it limits a key to one remote, whatever path the other machine asks for. Nothing outside the
/// directory is read or written, and a new file is checked against the SHA-256 in its name.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RemoteServeArgs {
    /// Use standard input and output, the only way there is
    #[arg(long, required = true)]
    stdio: bool,
    /// Refuse to write and to remove files
    #[arg(long)]
    read_only: bool,
    /// Directory of the remote
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

const EXAMPLES: &str = "\
Example, a line of ~/.ssh/authorized_keys for a key that may only pull:
  command=\"composefs remote serve --stdio --read-only /srv/images\",restrict ssh-ed25519 AAAA...";

pub(super) fn run(args: &RemoteServeArgs) -> anyhow::Result<()> {
    if output::is_terminal() {
        bail!("standard output is a terminal: `composefs push` and `pull` start this command by ssh");
    }
    let store = DirectoryStore::open(&args.directory)?;
    let reason = "the server is read only (`--read-only`): push to another remote, or with another key";
    let read_only = args.read_only.then_some(reason);
    serve(&store, read_only, io::stdin(), output::data()).context("the connection failed")
}
