//! `cargo xtask tidy`: what the compiler does not hold the project to.

mod circles;
mod edges;
mod fences;
mod figures;
mod links;
pub(crate) mod map;
mod modules;
mod prose;
mod text;
mod width;
mod words;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{paths, process};

/// A file under version control, if it is text.
struct Source {
    /// Relative to the checkout.
    path: PathBuf,
    text: String,
}

impl Source {
    fn is(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|e| e == extension)
    }

    /// A complaint about one of its lines, counted from 0.
    fn problem(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{}: {what}", self.path.display(), line + 1)
    }
}

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print figures of documentation and type names, and do nothing else.
    #[arg(long)]
    figures: bool,
}

/// The programs whose success is a rule: a title, environment variables, arguments of cargo.
type Program = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

/// In the workspace, the client of registries is always a part of the build.
const WITHOUT_NETWORK: &[&str] =
    &["clippy", "--quiet", "--package=composefs-cli", "--no-default-features", "--all-targets", "--", "-D", "warnings"];
const BOOT_BY_NAME: &[&str] =
    &["clippy", "--quiet", "--package=composefs-boot", "--features=name", "--all-targets", "--", "-D", "warnings"];
const AS_FUZZ_TARGETS_DO: &[&str] = &[
    "clippy",
    "--quiet",
    "--package=libcomposefs-remote",
    "--no-default-features",
    "--features=fuzzing",
    "--",
    "-D",
    "warnings",
];

const PROGRAMS: &[Program] = &[
    ("cargo fmt --check", &[], &["fmt", "--all", "--check"]),
    ("cargo clippy", &[], &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ("cargo clippy of the program without network", &[], WITHOUT_NETWORK),
    ("cargo clippy of the boot by name", &[], BOOT_BY_NAME),
    ("cargo clippy of what the fuzz targets build", &[], AS_FUZZ_TARGETS_DO),
    ("cargo doc", &[("RUSTDOCFLAGS", "-D warnings")], &["doc", "--quiet", "--no-deps", "--workspace"]),
];

/// Runs `cargo xtask tidy`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let sources = sources()?;
    if options.figures {
        figures::Figures::of(&sources).print();
        return Ok(());
    }
    let mut problems = Vec::new();
    for &(title, variables, arguments) in PROGRAMS {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(paths::checkout()).envs(variables.iter().copied()).args(arguments);
        if process::run(&mut cargo).is_err() {
            problems.push(format!("{title} is not satisfied"));
        }
    }
    problems.extend(edges::check()?);
    problems.extend(fences::check(&sources));
    problems.extend(text::check(&sources)?);
    problems.extend(links::check(&sources));
    problems.extend(words::check(&sources));
    problems.extend(width::check(&sources));
    problems.extend(circles::check(&sources));
    problems.extend(figures::check(&sources));
    problems.extend(map::check(&sources));
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} problem(s)", problems.len());
    }
    println!("tidy: {} files, no problem", sources.len());
    Ok(())
}

/// Returns the files under version control and the new ones that are not ignored.
fn sources() -> Result<Vec<Source>> {
    let mut git = Command::new("git");
    git.current_dir(paths::checkout()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let names = process::text(&mut git)?;
    let mut sources = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        // Binary files (golden images) and files deleted in the working tree are passed over.
        if let Ok(text) = fs::read_to_string(paths::checkout().join(name)) {
            sources.push(Source { path: name.into(), text });
        }
    }
    Ok(sources)
}
