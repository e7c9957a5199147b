//! The fuzz targets of `fuzz/`, and what each begins with.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{ostree_seeds, seeds};
use crate::{paths, process};

/// A program in `fuzz/fuzz_targets/`.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Sanitizer of the build. It checks the memory accesses of unsafe code; elsewhere it would only slow things down:
    /// to a third or less.
    pub(crate) sanitizer: Sanitizer,
    /// The longest input in bytes. Long enough that what takes quadratic time runs into the time limit.
    pub(crate) max_len: usize,
    /// Puts the inputs to begin with into a directory.
    pub(crate) seed: fn(&Path, max_len: usize) -> Result<()>,
    /// Words of the format, a file in `fuzz/`.
    pub(crate) dictionary: Option<&'static str>,
}

/// The sanitizers of a build, as cargo-fuzz calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sanitizer {
    Address,
    None,
}

impl Sanitizer {
    pub(crate) const ALL: [Sanitizer; 2] = [Sanitizer::Address, Sanitizer::None];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Sanitizer::Address => "address",
            Sanitizer::None => "none",
        }
    }
}

const DUMP: Target =
    Target { name: "dump", sanitizer: Sanitizer::None, max_len: 1 << 16, seed: dumps, dictionary: Some("dump.dict") };

/// All targets; the ones that take longest to find something come first.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "image", seed: images, dictionary: None, ..DUMP },
    Target { name: "dump_image_dump", ..DUMP },
    DUMP,
    Target { name: "hash_kernels", sanitizer: Sanitizer::Address, max_len: 1 << 12, seed: dumps, dictionary: None },
    Target { name: "bundle", seed: bundles, max_len: 1 << 15, dictionary: None, ..DUMP },
    // The library of GVariants has unsafe code.
    Target { name: "ostree", sanitizer: Sanitizer::Address, seed: ostree_seeds::objects, dictionary: None, ..DUMP },
    Target { name: "ostree_repository", max_len: 1 << 15, seed: ostree_seeds::repositories, dictionary: None, ..DUMP },
    Target { name: "diff", max_len: 1 << 15, seed: seeds::pairs, ..DUMP },
    Target { name: "extract", max_len: 1 << 14, seed: seeds::trees_to_extract, ..DUMP },
    Target { name: "resolve", seed: seeds::paths_and_images, dictionary: None, ..DUMP },
    Target { name: "load_by_c", seed: images, dictionary: None, ..DUMP },
    Target { name: "import", seed: bundles, max_len: 1 << 15, dictionary: None, ..DUMP },
    Target { name: "repository", max_len: 1 << 12, seed: seeds::repositories, dictionary: None, ..DUMP },
    Target { name: "texts", max_len: 1 << 14, seed: seeds::texts, dictionary: Some("texts.dict"), ..DUMP },
    Target { name: "verity", sanitizer: Sanitizer::None, max_len: 1 << 12, seed: dumps, dictionary: None },
];

/// Bundles of one small tree, with both algorithms.
fn bundles(dir: &Path, max_len: usize) -> Result<()> {
    let composefs = seeds::composefs()?;
    let scratch = tempfile::tempdir()?;
    fs::create_dir(scratch.path().join("tree"))?;
    fs::write(scratch.path().join("tree/file"), [b'f'; 100])?;
    for algorithm in ["sha256", "sha512"] {
        let bundle = dir.join(format!("{algorithm}.bundle"));
        let (bundle, repo) = (bundle.to_string_lossy().into_owned(), format!("--repo={algorithm}"));
        for words in [
            &["init", "--insecure", "--algorithm", algorithm][..],
            &["create", "tree", "--name=a/name"],
            &["export", "a/name", "--output", &bundle],
        ] {
            process::output(Command::new(&composefs).current_dir(scratch.path()).arg(&repo).args(words))?;
        }
        ensure!(fs::metadata(&bundle)?.len() <= max_len as u64, "a seed is longer than max_len");
    }
    Ok(())
}

/// The images of these dumps, as this very program makes them.
pub(super) fn images(dir: &Path, max_len: usize) -> Result<()> {
    let program = seeds::composefs()?;
    let work = tempfile::tempdir()?;
    dumps(work.path(), max_len)?;
    for entry in fs::read_dir(work.path())? {
        let dump = entry?.path();
        for version in ["0", "1"] {
            let image = dir.join(dump.file_stem().context("no name")?).with_extension(version);
            let mut mkcomposefs = Command::new(&program);
            mkcomposefs.arg0("mkcomposefs").args(["--from-file", "--min-version", version]).arg(&dump).arg(&image);
            // Bad dumps have none.
            let made = mkcomposefs.output().with_context(|| format!("cannot run {}", program.display()))?;
            if made.status.success() && image.metadata()?.len() > max_len as u64 {
                fs::remove_file(&image)?;
            }
        }
    }
    Ok(())
}

/// The dumps of the golden corpus, good and bad.
pub(super) fn dumps(dir: &Path, max_len: usize) -> Result<()> {
    let golden = paths::checkout().join("crates/testkit/data/golden");
    for folder in [golden.join("bad"), golden] {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "dump")) {
            if file.metadata()?.len() <= max_len as u64 {
                fs::copy(file, dir.join(file.file_name().context("no name")?))?;
            }
        }
    }
    Ok(())
}
