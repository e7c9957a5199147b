//! The options that select a repository.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use libcomposefs_repo::{Repository, RepositoryError};

use super::names::{NameKind, NameKindArgs};
use super::tell_of_waiting;
use crate::commands::oci::source::SourceArgs;
use crate::error_text::with_remedy;
use crate::inspect::names::shell_word;

/// Path of the system's repository.
const SYSTEM: &str = "/sysroot/composefs";
/// Path of a user's own repository, below the home directory.
const USER: &str = ".var/lib/composefs";

/// Options that select a repository. They are accepted before the name of every command, and after the names of the
/// commands that work in a repository.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct RepositoryArgs {
    /// Repository to use [default: the system's for root, otherwise the user's]
    #[arg(long, value_name = "DIR", help_heading = "Repository")]
    repo: Option<PathBuf>,
    /// Use the user's own repository, ~/.var/lib/composefs
    #[arg(long, conflicts_with = "repo", help_heading = "Repository")]
    user: bool,
    /// Use the system's repository, /sysroot/composefs
    #[arg(long, conflicts_with_all = ["repo", "user"], help_heading = "Repository")]
    system: bool,
    /// The kinds of names of images, from the options of the command.
    #[arg(skip)]
    names: NameKind,
    /// How OCI images outside a repository are read, from the options of the command.
    #[arg(skip)]
    sources: SourceArgs,
    /// The default repository, if it was chosen before the process became root of a user namespace.
    #[arg(skip)]
    default: Option<PathBuf>,
}

// The arguments of a command that works in a repository. No doc comment, which clap would take for the description of
// the command, and the command's own arguments last, as the last description wins.
#[derive(clap::Args)]
pub(crate) struct WithRepository<A: clap::Args> {
    #[command(flatten)]
    repository: RepositoryArgs,
    #[command(flatten)]
    args: A,
}

impl<A: clap::Args> WithRepository<A> {
    /// Calls the function of the command. Options after the name of the command win over those before it.
    pub(crate) fn run<T>(&self, before: &RepositoryArgs, command: impl FnOnce(&A, &RepositoryArgs) -> T) -> T {
        command(&self.args, if self.repository.is_given() { &self.repository } else { before })
    }
}

// The arguments of a command that takes names of images of a repository.
#[derive(clap::Args)]
pub(crate) struct WithNames<A: clap::Args> {
    #[command(flatten)]
    repository: RepositoryArgs,
    #[command(flatten)]
    names: NameKindArgs,
    #[command(flatten)]
    args: A,
}

impl<A: clap::Args> WithNames<A> {
    /// Calls the function of the command. Options after the name of the command win over those before it.
    pub(crate) fn run<T>(&self, before: &RepositoryArgs, command: impl FnOnce(&A, &RepositoryArgs) -> T) -> T {
        let selected = if self.repository.is_given() { &self.repository } else { before };
        command(&self.args, &RepositoryArgs { names: self.names.kind(), ..selected.clone() })
    }
}

// The arguments of a command that takes names of images of a repository, and OCI images outside one.
#[derive(clap::Args)]
pub(crate) struct WithSources<A: clap::Args> {
    #[command(flatten)]
    sources: SourceArgs,
    #[command(flatten)]
    named: WithNames<A>,
}

impl<A: clap::Args> WithSources<A> {
    /// Calls the function of the command. Options after the name of the command win over those before it.
    pub(crate) fn run<T>(&self, before: &RepositoryArgs, command: impl FnOnce(&A, &RepositoryArgs) -> T) -> T {
        self.named.run(before, |args, selected| command(args, &selected.with_sources(&self.sources)))
    }
}

impl RepositoryArgs {
    /// Returns the arguments that select the repository at a path, or the default one.
    pub(crate) fn of(repo: Option<PathBuf>) -> Self {
        Self { repo, ..Self::default() }
    }

    /// Returns true if the command line selects a repository.
    pub(crate) fn is_given(&self) -> bool {
        self.repo.is_some() || self.user || self.system
    }

    /// Returns the repository at a path, with the same kinds of names.
    pub(crate) fn at(&self, path: PathBuf) -> Self {
        Self { repo: Some(path), user: false, system: false, ..self.clone() }
    }

    /// Returns the same repository, with names of OCI images only.
    pub(crate) fn with_oci_names(&self) -> Self {
        Self { names: NameKind::Oci, ..self.clone() }
    }

    /// Returns the same repository, also after the process has become root of a user namespace.
    pub(crate) fn of_this_user(&self) -> anyhow::Result<Self> {
        Ok(Self { default: Some(self.path()?), ..self.clone() })
    }

    /// Returns the same repository, with options for OCI images outside it.
    pub(crate) fn with_sources(&self, sources: &SourceArgs) -> Self {
        Self { sources: sources.clone(), ..self.clone() }
    }

    /// Returns how OCI images outside the repository are read.
    pub(crate) fn sources(&self) -> &SourceArgs {
        &self.sources
    }

    /// Returns the kinds of names that the command line allows.
    pub(crate) fn names(&self) -> NameKind {
        self.names
    }

    /// Returns the path of the selected or the default repository.
    pub(crate) fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = self.repo.as_ref().or(self.default.as_ref()) {
            return Ok(path.clone());
        }
        if self.system || !self.user && rustix::process::geteuid().is_root() {
            return Ok(SYSTEM.into());
        }
        let home = std::env::var_os("HOME").context("HOME is not set: set it, or use --repo=DIR")?;
        let home = Path::new(&home);
        // With a relative path the repository would depend on the current directory.
        if !home.is_absolute() {
            bail!("HOME is {home:?}, which is not an absolute path: set it to the home directory, or use --repo=DIR");
        }
        Ok(home.join(USER))
    }

    /// Opens the selected or the default repository.
    pub(crate) fn open(&self) -> anyhow::Result<Repository> {
        crate::rlimits::allow_open_files();
        let path = self.path()?;
        match Repository::open(&path) {
            Ok(repository) => Ok(repository.telling(tell_of_waiting)),
            Err(error @ RepositoryError::Io { .. }) if !path.exists() => Err(with_remedy(error, self.init_text(&path))),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the remedy for a repository that does not exist.
    fn init_text(&self, path: &Path) -> String {
        if self.is_given() {
            format!("composefs --repo={} init makes a repository there", shell_word(path))
        } else {
            "composefs init makes it; --repo=DIR selects another repository".to_owned()
        }
    }
}
