//! The fuzz targets of `fuzz/`, and what each begins with.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{place, process};

/// A program in `fuzz/fuzz_targets/`.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Where there is unsafe code the sanitizer sees what it does to memory. Elsewhere it would only slow things down:
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

/// All of them; those that take the longest to find something first.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "image", seed: images, dictionary: None, ..DUMP },
    Target { name: "dump_image_dump", ..DUMP },
    DUMP,
    Target { name: "hash_kernels", sanitizer: Sanitizer::Address, max_len: 1 << 12, seed: dumps, dictionary: None },
    Target { name: "bundle", seed: bundles, max_len: 1 << 15, dictionary: None, ..DUMP },
    // The library of GVariants has unsafe code.
    Target { name: "ostree", sanitizer: Sanitizer::Address, max_len: 1 << 14, seed: ostree_objects, dictionary: None },
    Target { name: "verity", sanitizer: Sanitizer::None, max_len: 1 << 12, seed: dumps, dictionary: None },
];

/// Bundles of one small tree, with both algorithms.
fn bundles(dir: &Path, max_len: usize) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    process::run(cargo.current_dir(place::checkout()).args(["build", "--quiet", "--package", "composefs"]))?;
    let composefs = place::target().join("debug/composefs");
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

/// The metadata of a small repository, and the headers of its files with nothing before them.
#[expect(clippy::big_endian_bytes, reason = "the lengths of ostree are big-endian")]
fn ostree_objects(dir: &Path, max_len: usize) -> Result<()> {
    let archive = place::checkout().join("crates/ostree/tests/data/archive.tar.xz");
    let work = tempfile::tempdir()?;
    process::output(Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(work.path()))?;
    for folder in fs::read_dir(work.path().join("archive/objects"))? {
        for object in fs::read_dir(folder?.path())? {
            let object = object?.path();
            let mut bytes = fs::read(&object)?;
            if object.extension().is_some_and(|extension| extension == "filez") {
                let len = bytes.first_chunk::<4>().map_or(0, |len| u32::from_be_bytes(*len) as usize);
                bytes = bytes.get(8..8 + len).context("a file in an archive begins with its header")?.to_vec();
            }
            if bytes.len() <= max_len {
                fs::write(dir.join(object.file_name().context("no name")?), bytes)?;
            }
        }
    }
    Ok(())
}

/// The images of these dumps, as this very program makes them.
fn images(dir: &Path, max_len: usize) -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    process::run(cargo.current_dir(place::checkout()).args(["build", "--quiet", "--package", "composefs"]))?;
    let program = place::target().join("debug/composefs");
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
fn dumps(dir: &Path, max_len: usize) -> Result<()> {
    let golden = place::checkout().join("crates/testkit/data/golden");
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
