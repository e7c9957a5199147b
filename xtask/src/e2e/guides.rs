//! Runs the commands of README.md and of the guides in `docs/guides`: the blocks marked `sh` of each page are one
//! script.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::chroot::Chroot;
use super::{containers, ostree};
use crate::dist::stage::Staged;
use crate::test::report::Suite;
use crate::{crates_io, paths, peers};

/// Arguments of the task.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these pages, without `.md`.
    pages: Vec<String>,
}

impl Options {
    /// Selects all pages of the guides.
    pub(crate) fn all() -> Self {
        Self { pages: Vec::new() }
    }
}

const FOLDER: &str = "docs/guides";

/// Runs `cargo xtask e2e guides`.
pub(super) fn run(options: &Options) -> Result<Vec<Suite>> {
    let mut pages = Vec::new();
    let guides = fs::read_dir(paths::checkout().join(FOLDER))?.map(|entry| Ok(entry?.path()));
    let readme = std::iter::once(Ok(paths::checkout().join("README.md")));
    for path in guides.chain(readme).collect::<Result<Vec<_>>>()? {
        let name = path.file_stem().context("no name")?.to_string_lossy().into_owned();
        if options.pages.is_empty() || options.pages.contains(&name) {
            pages.push((name, fs::read_to_string(&path)?));
        }
    }
    pages.sort();
    ensure!(!pages.is_empty(), "no such page: README, or a page of {FOLDER}");
    let mut suites = Vec::new();
    for (name, text) in &pages {
        let blocks = blocks(text);
        ensure!(!blocks.is_empty(), "{name}.md has no block marked sh");
        // The system for ostree has fusermount3.
        let chroot = match name.as_str() {
            "ostree" | "rootless" => ostree::set_up()?,
            _ => containers::with_ours()?,
        };
        if name == "bootc" {
            install_for_bootc(&chroot)?;
        }
        suites.extend(follow(&chroot, name, &blocks)?);
    }
    Ok(suites)
}

/// Installs cfsctl, and the programs of an initramfs.
fn install_for_bootc(chroot: &Chroot) -> Result<()> {
    let cfsctl = peers::set_up_all(crates_io::Profile::Quick)?.join("cfsctl");
    chroot.install(&cfsctl, "usr/local/bin/cfsctl")?;
    Staged { root: chroot.path("") }.initramfs()
}

fn follow(chroot: &Chroot, name: &str, blocks: &[&str]) -> Result<Vec<Suite>> {
    chroot.write("srv/guide.sh", &format!("set -euo pipefail\n{}", blocks.concat()), 0o644)?;
    chroot.suite(&format!("guide {name}"), include_str!("guides.sh"), &[name])
}

/// Returns the blocks between ```` ```sh ```` and ```` ``` ````.
fn blocks(text: &str) -> Vec<&str> {
    let starts = text.match_indices("```sh\n").map(|(at, mark)| at + mark.len());
    starts.filter_map(|start| Some(&text[start..start + text[start..].find("```\n")?])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_blocks_only() {
        let text = "a\n```sh\none\ntwo\n```\nb\n```text\nthree\n```\n```sh\nfour\n```\n";
        assert_eq!(blocks(text), ["one\ntwo\n", "four\n"]);
    }
}
