//! `composefs completion`: prints the completion script of a shell.

use crate::complete;

/// Print a script with which a shell completes commands, options, refs and digests.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionArgs {
    /// Shell: bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL")]
    shell: String,
}

const EXAMPLES: &str = "\
Examples:
  source <(composefs completion bash)
  composefs completion fish > ~/.config/fish/completions/composefs.fish";

pub(crate) fn run(args: &CompletionArgs, command: clap::Command) -> anyhow::Result<()> {
    complete::write_script(&args.shell, command)
}
