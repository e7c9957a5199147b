//! Looks operands up in the repository, which is opened when the first operand needs it.

use std::cell::{Cell, OnceCell};
use std::path::{Path, PathBuf};

use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::{Reader, Repository};

use super::{RepositoryImage, error};
use crate::commands::oci::source::{self, SourceArgs};
use crate::commands::repository::{NameKind, NameOperand, RepositoryArgs, ResolvedName};
use crate::inspect::names::shell_word;

/// The operands of a command line. As long as this lives, gc removes no image that was found, and no object of one.
pub(crate) struct Operands<'r> {
    selected: &'r RepositoryArgs,
    opened: &'r OnceCell<Repository>,
    reader: OnceCell<Reader<'r>>,
    /// True once an image of the repository was found.
    is_used: Cell<bool>,
    /// Algorithm of the images that are made of OCI images outside a repository.
    algorithm: Algorithm,
}

impl<'r> Operands<'r> {
    /// Returns the operands of a command line that selects a repository. `opened` keeps the repository once it is open.
    pub(crate) fn new(selected: &'r RepositoryArgs, opened: &'r OnceCell<Repository>) -> Self {
        Self { selected, opened, reader: OnceCell::new(), is_used: Cell::new(false), algorithm: Algorithm::Sha512 }
    }

    /// Sets the algorithm of the images that are made of OCI images outside a repository: SHA-512 otherwise, as in
    /// `composefs oci digest`.
    pub(crate) fn with_algorithm(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    pub(super) fn source_algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn source_args(&self) -> &SourceArgs {
        self.selected.sources()
    }

    /// Returns true if operands are names, as the command line says of which kind.
    pub(super) fn is_name(&self) -> bool {
        self.selected.names() != NameKind::Any
    }

    /// Returns true if an operand is an OCI image outside a repository.
    pub(crate) fn is_source(&self, operand: &Path) -> bool {
        self.selected.names() != NameKind::Ref && source::is_source(operand.as_os_str())
    }

    /// Opens an image of the repository. `operand` is what the user has typed.
    pub(super) fn image(&self, operand: &Path, name: &NameOperand) -> anyhow::Result<RepositoryImage> {
        let reader = self.reader().map_err(|error| error::no_repository(operand, &error))?;
        let ResolvedName { image, oci } = name.resolve(reader.repository(), self.selected.names())?;
        let (digest, file) = reader.open_named(&image).map_err(|error| error::no_image(operand, error))?;
        self.is_used.set(true);
        Ok(RepositoryImage { digest, file, oci })
    }

    /// Returns the repository that a command line selects.
    pub(crate) fn repository(&self) -> anyhow::Result<&'r Repository> {
        Ok(self.reader()?.repository())
    }

    /// Returns true if the command line selects a repository, or an image of one was found.
    pub(crate) fn has_repository(&self) -> bool {
        self.selected.is_given() || self.is_used.get()
    }

    fn reader(&self) -> anyhow::Result<&Reader<'r>> {
        let repository = match self.opened.get() {
            Some(repository) => repository,
            None => {
                let repository = self.selected.open()?;
                self.opened.get_or_init(|| repository)
            }
        };
        match self.reader.get() {
            Some(reader) => Ok(reader),
            None => {
                let reader = repository.reader()?;
                Ok(self.reader.get_or_init(|| reader))
            }
        }
    }

    /// Returns the repository if an image of it was found.
    pub(super) fn used(&self) -> Option<&'r Repository> {
        self.opened.get().filter(|_| self.is_used.get())
    }

    /// Returns the path of the object of an image that was found.
    pub(crate) fn object_path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.used()?.objects().path_of(digest))
    }

    /// Returns an operand as words of a command line, with the options that select its repository or its platform.
    pub(crate) fn words(&self, operand: &Path, digest: Option<Digest>) -> String {
        let word = shell_word(operand);
        if self.is_source(operand) {
            return format!("{word}{}", self.source_args().words());
        }
        match self.used().filter(|_| digest.is_some() && self.selected.is_given()) {
            Some(repository) => format!("--repo={} {word}", shell_word(repository.path())),
            None => word,
        }
    }

    pub(super) fn damaged(&self, operand: &Path, expected: &Digest, found: &Digest) -> anyhow::Error {
        error::damaged(operand, expected, found, self.used().map(Repository::path))
    }
}
