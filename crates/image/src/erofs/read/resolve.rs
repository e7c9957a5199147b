//! Resolves a path in an image.
//!
//! Every path starts at the image's root, with a slash or without. In the path itself `.` and `..` are resolved by the
//! text alone, and the root is its own parent. Symlinks are followed as the kernel does in a mount that is the root of
//! a process: an absolute target starts at the image's root, `..` in a target is the parent of the directory reached,
//! and at most 40 links are followed.

use super::error::ReadError;
use super::view::{View, ViewNode};
use crate::display::shown;
use crate::tree::Kind;

/// The number of symlinks that are followed in one path (`MAXSYMLINKS` in `include/linux/namei.h`).
const MAX_LINKS: usize = 40;

/// The treatment of a symlink at the end of a path. A symlink before a slash is always followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastLink {
    /// Follow the symlink to its target.
    Follow,
    /// It is meant itself.
    Keep,
}

/// The result of resolving a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedPath {
    /// Its path without any symlink, from `/`.
    pub path: Vec<u8>,
    /// The inode that the path leads to.
    pub node: ViewNode,
}

/// Reasons why a path cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// A name that is not there.
    #[error("{} is not in the image", shown(path))]
    Missing {
        /// The path as far as the name.
        path: Vec<u8>,
    },
    /// The path continues after an inode that is not a directory.
    #[error("{} is not a directory", shown(path))]
    NotDirectory {
        /// The path as far as that.
        path: Vec<u8>,
    },
    /// Symlinks that lead to symlinks.
    #[error("{} is one symlink too many: no more than {MAX_LINKS} are followed", shown(path))]
    TooManyLinks {
        /// The path of the last one.
        path: Vec<u8>,
    },
    /// The image is wrong there.
    #[error(transparent)]
    Image(#[from] ReadError),
}

/// A walk from the root.
struct Steps<'p> {
    root: ViewNode,
    /// The directories gone through, below the root, each with its name.
    above: Vec<(&'p [u8], ViewNode)>,
    /// The names to go, the next one last. An empty one asks for a directory.
    names: Vec<&'p [u8]>,
    links: usize,
}

impl<'a> View<'_, 'a> {
    /// Follows a path from the root.
    pub fn resolve<'p>(&self, path: &'p [u8], last: LastLink) -> Result<ResolvedPath, ResolveError>
    where
        'a: 'p,
    {
        let names = normalised(path);
        let mut steps = Steps { root: self.root()?, above: Vec::new(), names, links: 0 };
        while let Some(name) = steps.names.pop() {
            match name {
                b"" | b"." => {}
                b".." => drop(steps.above.pop()),
                name => self.enter(&mut steps, name, last)?,
            }
            if !steps.names.is_empty() && steps.at().kind() != Kind::Directory {
                return Err(ResolveError::NotDirectory { path: steps.path() });
            }
        }
        Ok(ResolvedPath { path: steps.path(), node: steps.at() })
    }

    fn enter<'p>(&self, steps: &mut Steps<'p>, name: &'p [u8], last: LastLink) -> Result<(), ResolveError>
    where
        'a: 'p,
    {
        let directory = steps.at();
        steps.above.push((name, directory));
        let found = self.child(&directory, name).map_err(|error| error.at_path(&steps.path()))?;
        let node = found.ok_or_else(|| ResolveError::Missing { path: steps.path() })?;
        let is_followed = last == LastLink::Follow || !steps.names.is_empty();
        if node.kind() != Kind::Symlink || !is_followed {
            steps.above.pop();
            steps.above.push((name, node));
            return Ok(());
        }
        steps.links += 1;
        if steps.links > MAX_LINKS {
            return Err(ResolveError::TooManyLinks { path: steps.path() });
        }
        let target = self.target(&node).map_err(|error| error.at_path(&steps.path()))?;
        steps.above.pop();
        if target.first() == Some(&b'/') {
            steps.above.clear();
        }
        steps.names.extend(target.split(|byte| *byte == b'/').rev());
        Ok(())
    }
}

impl Steps<'_> {
    /// Returns the inode reached so far.
    fn at(&self) -> ViewNode {
        self.above.last().map_or(self.root, |(_, node)| *node)
    }

    fn path(&self) -> Vec<u8> {
        let mut path = Vec::new();
        for (name, _) in &self.above {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() { vec![b'/'] } else { path }
    }
}

/// The names of a path, the first one last, with an empty one in front if the path asks for a directory.
fn normalised(path: &[u8]) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = Vec::new();
    let mut wants_directory = false;
    for name in path.split(|byte| *byte == b'/') {
        wants_directory = matches!(name, b"" | b"." | b"..");
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    if wants_directory {
        names.push(b"");
    }
    names.reverse();
    names
}
