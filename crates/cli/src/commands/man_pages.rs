//! `composefs man-pages`, for packagers.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Command;
use clap_mangen::Man;

use super::groups::GROUPS;

/// Write the man pages of composefs and its commands into a directory.
#[derive(clap::Args)]
pub(crate) struct ManPagesArgs {
    /// Directory, created if it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(args: &ManPagesArgs, command: Command) -> anyhow::Result<()> {
    write(&args.dir, command).with_context(|| format!("cannot write to {}", args.dir.display()))
}

fn write(dir: &Path, command: Command) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(command.clone(), dir)?;
    let mut page = File::create(dir.join("composefs.1"))?;
    write_main_page(&command, &mut page)?;
    page.flush()
}

/// Writes the page of `composefs` itself, whose subcommands are grouped as in `--help`.
fn write_main_page(command: &Command, out: &mut impl Write) -> io::Result<()> {
    let command = command.clone().disable_help_subcommand(true);
    let man = Man::new(command.clone());
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    writeln!(out, ".SH COMMANDS")?;
    for group in GROUPS {
        let only = command.clone().mut_subcommands(|subcommand| {
            let is_in_group = group.commands.contains(&subcommand.get_name());
            subcommand.hide(!is_in_group)
        });
        // A subsection: clap_mangen itself makes a section, named by the heading.
        let mut section = Vec::new();
        Man::new(only.subcommand_help_heading(group.heading)).render_subcommands_section(&mut section)?;
        out.write_all(String::from_utf8_lossy(&section).replacen(".SH ", ".SS ", 1).as_bytes())?;
    }
    man.render_options_section(out)?;
    man.render_extra_section(out)?;
    man.render_version_section(out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn main_page_has_a_subsection_for_each_group() {
        let mut page = Vec::new();
        super::write_main_page(&super::super::command(), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        let section = page.split("\n.S").find(|section| section.starts_with("S Mount\n"));
        let section = section.unwrap_or_else(|| panic!("no subsection Mount: {page}"));
        let names: Vec<_> = section.lines().filter(|line| line.starts_with("composefs\\-")).collect();
        let commands = ["fill", "mount", "mounts", "run", "serve\\-objects", "status", "trace", "umount"];
        let expected = commands.map(|name| format!("composefs\\-{name}(1)"));
        assert_eq!(names, expected, "{section}");
    }
}
