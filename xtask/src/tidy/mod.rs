//! `cargo xtask tidy`: what the compiler does not hold the project to.

mod edges;
mod fences;
mod links;
mod text;

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

/// The task.
pub(crate) fn run() -> Result<()> {
    let mut problems = Vec::new();
    for (what, arguments) in [
        ("cargo fmt --check", &["fmt", "--all", "--check"][..]),
        ("cargo clippy", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    ] {
        let mut cargo = Command::new(env!("CARGO"));
        if process::run(cargo.current_dir(paths::checkout()).args(arguments)).is_err() {
            problems.push(format!("{what} is not satisfied"));
        }
    }
    let sources = sources()?;
    problems.extend(edges::check()?);
    problems.extend(fences::check(&sources));
    problems.extend(text::check(&sources)?);
    problems.extend(links::check(&sources));
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} problem(s)", problems.len());
    }
    println!("tidy: {} files, nothing to complain of", sources.len());
    Ok(())
}

/// What is under version control or about to be.
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
