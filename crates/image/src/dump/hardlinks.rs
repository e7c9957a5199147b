//! Hard links of a dump, resolved when all lines are read: a link may stand before its target and name another link.

use std::collections::HashMap;

use super::error::{DumpError, DumpField, LineDefect};
use super::line_map::LineMap;
use crate::display::shown;
use crate::tree::{FoundName, InodeId, PendingLink, TreeBuilder, TreeError};

#[derive(Debug)]
struct Link {
    entry: PendingLink,
    line: u64,
    target: Box<[u8]>,
    /// The path as written in the dump, for messages.
    path: Box<[u8]>,
}

/// The hard links met so far, in the order of their lines.
#[derive(Debug, Default)]
pub(super) struct HardLinks(Vec<Link>);

/// The progress of resolving a link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    /// On the chain that is being followed.
    Visiting,
    Known(InodeId),
}

impl HardLinks {
    pub(super) fn push(&mut self, entry: PendingLink, line: u64, target: &[u8], path: &[u8]) {
        self.0.push(Link { entry, line, target: target.into(), path: path.into() });
    }

    /// Gives every link its inode.
    pub(super) fn resolve(self, builder: &mut TreeBuilder) -> Result<LineMap, DumpError> {
        let targets = self.0.iter().map(|link| link.find_target(builder)).collect::<Result<Vec<_>, _>>()?;
        let index: HashMap<_, _> = self.0.iter().enumerate().map(|(i, link)| (link.entry, i)).collect();
        let mut states = vec![State::Unknown; self.0.len()];
        for start in 0..self.0.len() {
            let mut chain = Vec::new();
            let mut at = start;
            let inode = loop {
                match states[at] {
                    State::Known(inode) => break inode,
                    State::Visiting => return Err(self.0[at].defect(CYCLE.0, CYCLE.1)),
                    State::Unknown => {}
                }
                states[at] = State::Visiting;
                chain.push(at);
                match targets[at] {
                    FoundName::Inode(inode) => break inode,
                    FoundName::Link(next) => at = index[&next],
                }
            };
            for link in chain {
                states[link] = State::Known(inode);
                builder.resolve_link(self.0[link].entry, inode).map_err(|error| match error {
                    TreeError::LinkToDirectory => {
                        self.0[link].defect("Directories can't be hardlinked", "the link's target is a directory")
                    }
                    other => self.0[link].defect(&other.to_string(), ""),
                })?;
            }
        }
        Ok(LineMap { links: self.0.iter().map(|link| link.line).collect() })
    }
}

const CYCLE: (&str, &str) = ("cannot write file: Too many levels of symbolic links", "the hard links form a cycle");

impl Link {
    fn find_target(&self, builder: &TreeBuilder) -> Result<FoundName, DumpError> {
        let mut found = FoundName::Inode(InodeId::ROOT);
        for component in self.target.split(|&b| b == b'/').filter(|c| !c.is_empty()) {
            // A path goes through directories only, never through a link.
            let next = match found {
                FoundName::Inode(directory) => builder.find(directory, component),
                FoundName::Link(_) => None,
            };
            found = next.ok_or_else(|| {
                let message = format!("No target at {} for hardlink", shown(&self.target));
                self.defect(&message, "PAYLOAD is a path in the image")
            })?;
        }
        if found == FoundName::Link(self.entry) {
            let message = format!("Self-referential hardlink {}", shown(&self.path));
            return Err(self.defect(&message, ""));
        }
        Ok(found)
    }

    fn defect(&self, message: &str, rule: &'static str) -> DumpError {
        LineDefect::new(DumpField::Payload, message, rule).at(self.line)
    }
}
