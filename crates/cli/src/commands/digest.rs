//! `composefs digest`: computes the fs-verity digests of files, pipes and standard input.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_content::digest_file;
use libcomposefs_image::verity::Hasher;
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_sys::copy::READ_SIZE;

use super::bootable_args::BootableArgs;
use super::explain_digest::bootable_digest;
use super::repository::RepositoryArgs;
use crate::complete;
use crate::error_text::with_remedy;
use crate::inspect::names::{NameFormat, shell_word};
use crate::operand::{IMAGES, Operand, Operands};
use crate::output;
use crate::{json, rlimits};

/// Print the fs-verity digests of files, whether fs-verity is enabled on them or not.
///
/// Reads and hashes the contents; digests stored by the kernel are not used. Regular files are read by several threads.
/// Pipes and other streams are read to their end, in constant memory.
///
/// With --bootable, a file is a directory, an image, a dump or an OCI image, and the digest is that of its bootable
/// image: the digest that a unified kernel image (UKI) for bootc has on its command line, with --algorithm=sha512.
#[derive(clap::Args)]
#[command(after_help = format!("{IMAGES}\n\n{EXAMPLES}"))]
pub(super) struct DigestArgs {
    /// Files; `-` is standard input, which is also the default
    #[arg(default_value = "-", hide_default_value = true, add = ArgValueCompleter::new(complete::operands))]
    files: Vec<PathBuf>,
    #[command(flatten)]
    bootable: BootableArgs,
    /// Format version of a bootable image: 1, or 2 of old repositories of bootc
    #[arg(long, value_name = "VERSION", default_value = "1", requires = "bootable",
          value_parser = clap::value_parser!(u32).range(1..=2))]
    version: u32,
    /// Digest algorithm, sha256 or sha512
    #[arg(long, default_value_t)]
    algorithm: Algorithm,
    /// Number of threads to use
    #[arg(long, value_parser = crate::rlimits::parse_threads)]
    threads: Option<NonZeroUsize>,
    /// Print the digest of one file as the bytes that a signature of the kernel signs: `FSVerity`, the numbers of the
    /// algorithm and of the bytes of the digest, and these bytes
    #[arg(long, conflicts_with = "json")]
    formatted: bool,
    /// Print a JSON array of objects with path, algorithm and digest
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs digest rootfs.img
  composefs digest --algorithm=sha512 --json disk.raw
  composefs digest --bootable --algorithm=sha512 rootfs/
  composefs digest --formatted rootfs.img > digest
  xz -dc rootfs.img.xz | composefs digest
  composefs digest rootfs.img - <other.img";

/// Runs the command and returns its exit status.
pub(super) fn run(args: &DigestArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let threads = rlimits::threads(args.threads);
    let opened = OnceCell::new();
    let operands = Operands::new(selected, &opened);
    let mut digests = args.files.iter().map(|path| {
        if args.bootable.bootable {
            return bootable_digest(path, &operands, &args.bootable, (args.version, args.algorithm), threads);
        }
        digest_operand(path, &operands, args.algorithm, threads)
    });
    if args.formatted {
        let [_] = args.files.as_slice() else {
            bail!("--formatted prints the digest of one file, and {} are given", args.files.len());
        };
        let digest = digests.next().context("a file is needed")?;
        let mut out = output::text();
        out.write_all(&digest?.kernel_formatted())?;
        return Ok(out.flush()?);
    }
    let mut out = output::text();
    if args.json {
        let list = args.files.iter().zip(digests).map(|(path, digest)| {
            let mut object = serde_json::Map::new();
            json::put_bytes(&mut object, "path", path.as_os_str().as_bytes());
            object.insert("algorithm".to_owned(), args.algorithm.name().into());
            object.insert("digest".to_owned(), digest?.to_hex().into());
            Ok(object)
        });
        let list = list.collect::<anyhow::Result<Vec<_>>>()?;
        output::json(&list);
        return Ok(());
    }
    let names = if output::is_terminal() { NameFormat::Escaped } else { NameFormat::Raw };
    for (path, digest) in args.files.iter().zip(digests) {
        write!(out, "{}  ", digest?)?;
        out.write_all(&names.show(path.as_os_str().as_bytes()))?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

fn digest_operand(
    path: &Path,
    operands: &Operands<'_>,
    algorithm: Algorithm,
    threads: NonZeroUsize,
) -> anyhow::Result<Digest> {
    let digest = match operands.find(path)? {
        Operand::Image(image) => digest_file(image.file.as_fd(), algorithm, threads),
        Operand::Source(source) => return source.image(path, algorithm)?.digest(algorithm),
        Operand::File if path.is_dir() => {
            let error = anyhow!("{} is a directory: expected files", path.display());
            return Err(with_remedy(
                error,
                format!(
                    "mkcomposefs --print-digest-only {0} prints the digest of its image, composefs digest --bootable \
                     {0} that of its bootable image",
                    shell_word(path)
                ),
            ));
        }
        Operand::File => digest(path, algorithm, threads),
    };
    digest.with_context(|| format!("cannot read {}", path.display()))
}

fn digest(path: &Path, algorithm: Algorithm, threads: NonZeroUsize) -> io::Result<Digest> {
    if path == Path::new("-") {
        // Reads from the current offset on, even if it is a regular file.
        return digest_stream(io::stdin().lock(), algorithm);
    }
    let file = File::open(path)?;
    if file.metadata()?.is_file() {
        digest_file(file.as_fd(), algorithm, threads)
    } else {
        digest_stream(file, algorithm)
    }
}

/// Computes the digest of an input that can be read only once.
fn digest_stream(mut stream: impl Read, algorithm: Algorithm) -> io::Result<Digest> {
    let (mut hasher, mut buffer, mut filled) = (Hasher::new(algorithm), vec![0; READ_SIZE], 0);
    loop {
        // A pipe returns few bytes at a time, and hashing many blocks at once is much faster.
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => {
                hasher.update(&buffer[..filled]);
                return Ok(hasher.finish());
            }
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled == buffer.len() {
            hasher.update(&buffer);
            filled = 0;
        }
    }
}
