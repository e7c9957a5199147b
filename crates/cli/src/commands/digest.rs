//! `composefs digest`: the fs-verity digests of files.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use composefs_image::{Algorithm, Digest};
use composefs_scan::digest_file;

use crate::{json, limits};

/// Print the fs-verity digests of files, whether fs-verity is enabled on them or not.
///
/// The contents are read and hashed, by all CPUs at once: what the kernel has stored is not asked.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// sha256 or sha512.
    #[arg(long, default_value_t)]
    algorithm: Algorithm,
    /// Use so many threads.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Print a JSON array of objects with path, algorithm and digest.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs digest rootfs.img
  composefs digest --algorithm=sha512 --json disk.raw";

/// Runs the command.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let threads = limits::threads(args.threads);
    let digests = args.files.iter().map(|path| {
        let digest = digest(path, args.algorithm, threads);
        digest.with_context(|| format!("cannot read {}", path.display()))
    });
    let mut out = io::stdout().lock();
    if args.json {
        let list = args.files.iter().zip(digests).map(|(path, digest)| {
            let mut object = serde_json::Map::new();
            json::put_bytes(&mut object, "path", path.as_os_str().as_bytes());
            object.insert("algorithm".to_owned(), args.algorithm.name().into());
            object.insert("digest".to_owned(), digest?.to_hex().into());
            Ok(object)
        });
        let list = list.collect::<anyhow::Result<Vec<_>>>()?;
        serde_json::to_writer_pretty(&mut out, &list)?;
        writeln!(out)?;
        return Ok(());
    }
    for (path, digest) in args.files.iter().zip(digests) {
        writeln!(out, "{}  {}", digest?, path.display())?;
    }
    Ok(())
}

fn digest(path: &Path, algorithm: Algorithm, threads: NonZeroUsize) -> io::Result<Digest> {
    let file = File::open(path)?;
    digest_file(file.as_fd(), algorithm, threads)
}
