//! Groups of the commands, in the order that `composefs --help`, `composefs(1)` and `docs/cli.md` share.

use std::fmt::Write as _;

use clap::Command;
use clap::builder::StyledStr;

/// Commands with a common purpose, in alphabetical order.
pub(crate) struct CommandGroup {
    pub(crate) heading: &'static str,
    pub(crate) commands: &'static [&'static str],
}

/// All commands that `composefs --help` shows.
pub(crate) const GROUPS: &[CommandGroup] = &[
    CommandGroup {
        heading: "Build images",
        commands: &["create", "derive", "digest", "explain-digest", "prove", "seal"],
    },
    CommandGroup { heading: "Boot images", commands: &["boot", "disk"] },
    CommandGroup { heading: "Inspect images", commands: &["cat", "diff", "du", "extract", "find", "ls", "stat"] },
    CommandGroup {
        heading: "Manage a repository",
        commands: &["df", "export", "gc", "images", "import", "init", "repack", "sync", "tag", "untag", "why"],
    },
    CommandGroup { heading: "Trust", commands: &["ipe-policy", "sign", "trust"] },
    CommandGroup { heading: "Deliver images", commands: &["plan", "pull", "push", "remote"] },
    CommandGroup {
        heading: "Mount",
        commands: &["fill", "mount", "mounts", "run", "serve-objects", "status", "trace", "umount"],
    },
    CommandGroup { heading: "Check", commands: &["check", "doctor", "fsck"] },
    CommandGroup { heading: "Other systems", commands: &["oci", "ostree"] },
    CommandGroup { heading: "Help and completion", commands: &["completion", "help"] },
];

/// Adds a help text to the `composefs` command in which the subcommands are grouped. clap itself has one list for all.
pub(crate) fn with_grouped_help(command: Command) -> Command {
    let template = template(&command);
    command.help_template(template)
}

fn template(command: &Command) -> StyledStr {
    // Only a command that is built has the subcommand `help`.
    let mut command = command.clone();
    command.build();
    let styles = command.get_styles();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let names = GROUPS.iter().flat_map(|group| group.commands);
    let width = names.map(|name| name.len()).max().unwrap_or(0);
    let mut text = StyledStr::from("{about-with-newline}\n{usage-heading} {usage}\n\n");
    let mut push = |line: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = text.write_fmt(line);
    };
    for group in GROUPS {
        push(format_args!("{header}{}:{header:#}\n", group.heading));
        for name in group.commands {
            let about = command.find_subcommand(name).and_then(Command::get_about);
            let about = about.map(ToString::to_string).unwrap_or_default();
            push(format_args!("  {literal}{name}{literal:#}{:width$}  {about}\n", "", width = width - name.len()));
        }
        push(format_args!("\n"));
    }
    push(format_args!("{header}Options:{header:#}\n{{options}}{{after-help}}"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visible_command_is_in_one_group() {
        let mut command = super::super::command();
        command.build();
        let visible = command.get_subcommands().filter(|command| !command.is_hide_set()).map(Command::get_name);
        let mut visible: Vec<_> = visible.collect();
        let mut grouped: Vec<_> = GROUPS.iter().flat_map(|group| group.commands).copied().collect();
        visible.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, visible);
    }

    #[test]
    fn commands_are_in_alphabetical_order_in_their_group() {
        assert!(GROUPS.iter().all(|group| group.commands.is_sorted()));
    }

    #[test]
    fn help_shows_the_groups() {
        let help = super::super::command().render_help().to_string();
        let ls = "  ls              List ";
        let at = |text: &str| help.find(text).unwrap_or_else(|| panic!("no {text:?} in {help}"));
        assert!(at("\nInspect images:\n") < at(ls) && at(ls) < at("\nManage a repository:\n"), "{help}");
        assert!(at("\nUsage: composefs ") < at("\nBuild images:\n") && at("\nCheck:\n") < at("\nOptions:\n"), "{help}");
        assert!(at("      --repo <DIR>  ") < at("\nExamples:\n"), "{help}");
    }
}
