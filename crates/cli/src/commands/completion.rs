//! `composefs completion`

use std::io::Write;

use anyhow::Context;
use clap_complete::env::Shells;

/// Print the script that lets a shell complete commands, options, refs and digests.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell: bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL")]
    shell: String,
}

const EXAMPLES: &str = "\
Examples:
  source <(composefs completion bash)
  composefs completion fish > ~/.config/fish/completions/composefs.fish";

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell).with_context(|| {
        let known: Vec<_> = shells.names().collect();
        format!("no script is known for {:?}; there are those for {}", args.shell, known.join(", "))
    })?;
    let mut script = Vec::new();
    shell.write_registration("COMPLETE", "composefs", "composefs", "composefs", &mut script)?;
    Ok(std::io::stdout().write_all(&script)?)
}
