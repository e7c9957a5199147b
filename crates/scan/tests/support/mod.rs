//! Helpers shared by the tests of the scan.
#![allow(dead_code)]

use std::num::NonZeroUsize;
use std::path::Path;

use libcomposefs_content::{DigestOnly, NoProgress};
use libcomposefs_image::Algorithm;
use libcomposefs_image::tree::{Data, InodeId, Tree};
use libcomposefs_scan::{Error, Options, scan};

pub(crate) fn options(threads: usize) -> Options {
    Options { threads: NonZeroUsize::new(threads), ..Options::default() }
}

pub(crate) fn scan_with(root: &Path, options: &Options) -> Result<Tree, Error> {
    scan(root, options, &DigestOnly(Algorithm::Sha256), &NoProgress)
}

pub(crate) fn scan_default(root: &Path) -> Tree {
    scan_with(root, &options(2)).unwrap()
}

/// Prints a tree as text: one line per entry, in the order of the tree.
pub(crate) fn render(tree: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    let mut stack = vec![(InodeId::ROOT, String::new(), false)];
    while let Some((id, path, is_link)) = stack.pop() {
        lines.push(render_inode(tree, id, &path, is_link));
        if !is_link {
            let children: Vec<_> = tree.children(id).collect();
            stack.extend(
                children.iter().rev().map(|e| (e.inode, format!("{path}/{}", e.name.escape_ascii()), e.is_link)),
            );
        }
    }
    lines
}

fn render_inode(tree: &Tree, id: InodeId, path: &str, is_link: bool) -> String {
    let inode = tree.inode(id);
    let xattrs: Vec<_> =
        inode.xattrs().map(|x| format!("{}={}", x.name.escape_ascii(), x.value.escape_ascii())).collect();
    let data = match inode.data() {
        Data::Directory => "dir".to_owned(),
        Data::Symlink(target) => format!("-> {}", target.escape_ascii()),
        Data::Regular { content, payload, digest } => format!(
            "content {:?} payload {:?} digest {digest:?}",
            content.map(|c| c.escape_ascii().to_string()),
            payload.map(|p| p.escape_ascii().to_string())
        ),
        Data::Special => "special".to_owned(),
    };
    let (mtime, link) = (inode.mtime(), if is_link { "link " } else { "" });
    format!(
        "{path} {link}{:o} {} {}:{} n{} r{:x} {}.{:09} {data} {xattrs:?}",
        inode.mode(),
        inode.size(),
        inode.uid(),
        inode.gid(),
        inode.nlink(),
        inode.rdev(),
        mtime.sec,
        mtime.nsec
    )
}

/// Returns the line of one path.
pub(crate) fn line(tree: &Tree, path: &str) -> String {
    let start = format!("{path} ");
    let lines = render(tree);
    lines.iter().find(|l| l.starts_with(&start)).unwrap_or_else(|| panic!("no {path} in {lines:#?}")).clone()
}
