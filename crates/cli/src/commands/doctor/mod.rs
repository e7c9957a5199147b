//! `composefs doctor`: checks whether verified mounts work on this machine.

mod directory;
mod finding;
mod mount_test;
mod repository;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use serde_json::json;

use super::repository::RepositoryArgs;
use crate::exit::exit_answer;
use crate::output;
pub(super) use directory::no_verity;
use finding::{DoctorFinding, Section, Status};

/// Check whether verified mounts work on this machine, and report what is missing.
///
/// Probes the kernel's features instead of deriving them from its version. If the process may mount, builds an image in
/// each directory, enables fs-verity on it, mounts it and reads a file. Leaves nothing behind. Without a directory,
/// checks that of the repository if there is one, otherwise the current one.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// Directories for objects and images
    #[arg(value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs doctor
  composefs --repo=/srv/images doctor
  composefs doctor /var/lib/containers /home --json

Exit status: 0 if verified mounts work in every directory, 1 if they do not, 2 on error.";

pub(crate) fn run(args: &DoctorArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_answer(examine(args, selected))
}

fn examine(args: &DoctorArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let repository = selected.path().ok().filter(|path| selected.is_given() || path.exists());
    let mut directories = args.directories.clone();
    if directories.is_empty() {
        directories.push(repository.clone().unwrap_or_else(|| ".".into()));
    }
    if let Some(missing) = directories.iter().find(|path| !path.is_dir()) {
        bail!("{} is not an accessible directory", missing.display());
    }
    let mut sections = vec![system::look()];
    for path in &directories {
        let mut findings = directory::look(path);
        if findings.iter().all(|finding| finding.status != Status::Unknown) {
            findings.extend(mount_test::look(path));
        }
        sections.push(Section { title: path.display().to_string(), findings });
    }
    if let Some(path) = &repository {
        sections.push(Section { title: format!("repository {}", path.display()), findings: repository::look(path) });
    }
    let verdict = verdict(&sections);
    if args.json {
        let sections = sections.iter().map(|section| {
            let findings: Vec<_> = section.findings.iter().map(DoctorFinding::json).collect();
            json!({ "title": section.title, "findings": findings })
        });
        output::json(&json!({ "verified_mounts": verdict, "sections": sections.collect::<Vec<_>>() }));
    } else {
        print(&sections, verdict);
    }
    match verdict {
        Some(works) => Ok(works),
        None => bail!("cannot determine whether verified mounts work: {}", why_unknown(&sections)),
    }
}

/// Returns whether verified mounts work in every directory; `None` if that could not be tested in one of them and works
/// in all others.
fn verdict(sections: &[Section]) -> Option<bool> {
    let tried: Vec<Option<bool>> = sections
        .iter()
        .filter(|section| section.findings.iter().any(|finding| finding.name == "file system"))
        .map(|section| {
            let trial = section.findings.iter().find(|finding| finding.name == "verified mount")?;
            Some(trial.status == Status::Ok)
        })
        .collect();
    if tried.contains(&Some(false)) {
        return Some(false);
    }
    tried.into_iter().collect::<Option<Vec<bool>>>().map(|all| all.into_iter().all(|works| works))
}

fn why_unknown(sections: &[Section]) -> String {
    let unknown = sections.iter().flat_map(|section| {
        section.findings.iter().filter(|f| f.name == "directory").map(|f| format!("{}: {}", section.title, f.found))
    });
    unknown.collect::<Vec<_>>().join("; ")
}

fn print(sections: &[Section], verdict: Option<bool>) {
    for section in sections {
        out!("{}", section.title);
        for finding in &section.findings {
            out!("  {:<8} {}: {}", finding.status.word(), finding.name, finding.found);
            if finding.status != Status::Ok {
                out!("           {}", finding.means);
            }
            if let Some(remedy) = &finding.remedy {
                out!("           remedy: {remedy}");
            }
        }
        out!("");
    }
    match verdict {
        Some(true) => out!("verified mounts work here"),
        Some(false) => out!("verified mounts do not work here: {}", reason(sections)),
        None => {}
    }
}

/// Returns the first missing feature.
fn reason(sections: &[Section]) -> String {
    let missing =
        |section: &&Section| section.findings.iter().find(|finding| finding.status == Status::Missing).cloned();
    let first = sections.iter().find_map(|section| missing(&section));
    first.map_or_else(|| "see above".into(), |finding| format!("{}: {}", finding.name, finding.found))
}

/// Returns a section with these findings, for tests.
#[cfg(test)]
fn section(findings: &[(&'static str, Status)]) -> Section {
    let finding = |(name, status): &(&'static str, Status)| DoctorFinding::new(name, *status, "x", "y");
    Section { title: "x".into(), findings: findings.iter().map(finding).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_counts() {
        let system = section(&[("fuse", Status::Missing)]);
        let good = section(&[("file system", Status::Ok), ("verified mount", Status::Ok)]);
        let bad = section(&[("file system", Status::Ok), ("verified mount", Status::Missing)]);
        let untried = section(&[("file system", Status::Ok), ("directory", Status::Unknown)]);
        let of =
            |sections: &[&Section]| verdict(&sections.iter().map(|section| (*section).clone()).collect::<Vec<_>>());
        assert_eq!(of(&[&system, &good]), Some(true));
        assert_eq!(of(&[&system, &good, &bad]), Some(false));
        assert_eq!(of(&[&system, &bad, &untried]), Some(false));
        assert_eq!(of(&[&system, &good, &untried]), None);
    }
}
