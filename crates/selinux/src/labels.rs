//! The labels of paths, looked up one after the other.

use libcomposefs_image::tree::Kind;
use regex_automata::hybrid::dfa::Cache;

use crate::contexts::Contexts;
use crate::error::LabelError;

/// Finds the labels of paths by the rules of a policy.
#[derive(Debug)]
pub struct Labels<'c> {
    contexts: &'c Contexts,
    cache: Cache,
    /// Directory of the last path, and the path by which it is looked up.
    directory: Vec<u8>,
    original: Vec<u8>,
    text: Vec<u8>,
}

impl<'c> Labels<'c> {
    /// Prepares to look up labels.
    #[must_use]
    pub fn new(contexts: &'c Contexts) -> Self {
        let cache = contexts.patterns.cache();
        Self { contexts, cache, directory: Vec::new(), original: Vec::new(), text: Vec::new() }
    }

    /// Returns the label of an absolute path of a tree, or `None` if it has none.
    ///
    /// # Errors
    ///
    /// If the match takes too many steps.
    pub fn label(&mut self, path: &[u8], kind: Kind) -> Result<Option<&'c [u8]>, LabelError> {
        self.text.clear();
        if path == b"/" {
            self.text.push(b'/');
        } else {
            let at = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            let (directory, name) = (&path[..at], path.get(at + 1..).unwrap_or_default());
            if directory != self.directory {
                self.original.clear();
                for name in directory.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
                    self.contexts.aliases.descend(&mut self.original, name);
                }
                self.directory.clear();
                self.directory.extend_from_slice(directory);
            }
            self.text.extend_from_slice(&self.original);
            self.contexts.aliases.descend(&mut self.text, name);
        }
        self.text.push(letter(kind));
        let gave_up = |reason| LabelError::GaveUp { path: String::from_utf8_lossy(path).into_owned(), reason };
        let rule = self.contexts.patterns.last_match(&mut self.cache, &self.text).map_err(gave_up)?;
        Ok(rule.and_then(|rule| self.contexts.context(rule)))
    }
}

/// The letter of a type of file in the patterns.
fn letter(kind: Kind) -> u8 {
    match kind {
        Kind::Directory => b'd',
        Kind::Regular => b'-',
        Kind::Symlink => b'l',
        Kind::CharDevice => b'c',
        Kind::BlockDevice => b'b',
        Kind::Fifo => b'p',
        Kind::Socket => b's',
    }
}
