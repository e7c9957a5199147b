//! `composefs seal`: enables fs-verity on files and prints their digests.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_store::digest_of;
use libcomposefs_sys::input::open_seekable;
use libcomposefs_sys::verity::{Enabled, Measurement, enable, measure, refusal_cause};
use rustix::io::Errno;
use serde_json::{Map, Value};

use super::doctor;
use crate::error_text::with_remedy;
use crate::inspect::failures::Failures;
use crate::inspect::names::NameFormat;
use crate::json::{self, ArrayWriter};
use crate::output;

/// Enable fs-verity on files, and print their digests.
///
/// The kernel reads each file once and stores a Merkle tree of it. Afterwards the content of the file cannot be
/// changed, and every read is verified. A sealed file can be renamed, linked and deleted. All its hard links are sealed
/// too.
///
/// The printed digest is the one that the kernel verifies reads against, and that the mount option digest= expects. A
/// file that is already sealed with the same algorithm is not changed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SealArgs {
    /// Images or other regular files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Digest algorithm, sha256 or sha512
    #[arg(long, default_value_t)]
    algorithm: Algorithm,

    /// Print a JSON array of objects with path, algorithm, digest, and sealed: now or before
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs seal rootfs.img
  composefs mount rootfs.img /mnt -o basedir=objects,digest=$(composefs seal rootfs.img | cut -d' ' -f1)
  composefs seal --algorithm=sha512 --json *.img

fs-verity needs ext4 or f2fs with the feature verity, or btrfs; composefs doctor checks it.

Exit status: 0 if every file is sealed, 1 if one is not, 2 for a usage error.";

/// Block size of the Merkle trees of all composefs digests.
const BLOCK_SIZE: u32 = 4096;

/// A file with fs-verity.
struct Sealed {
    digest: Digest,
    /// True if this command enabled fs-verity, false if it was already enabled.
    is_new: bool,
}

/// Runs the command and returns its exit status.
pub(super) fn run(args: &SealArgs) -> ExitCode {
    let mut failures = Failures::default();
    let done = if args.json { seal_json(args, &mut failures) } else { seal_text(args, &mut failures) };
    failures.status(done)
}

fn seal_text(args: &SealArgs, failures: &mut Failures) -> anyhow::Result<()> {
    let mut out = output::text();
    let names = if output::is_terminal() { NameFormat::Escaped } else { NameFormat::Raw };
    for path in &args.files {
        let done = seal(path, args.algorithm).and_then(|sealed| {
            write!(out, "{}  ", sealed.digest)?;
            out.write_all(&names.show(path.as_os_str().as_bytes()))?;
            writeln!(out)?;
            Ok(out.flush()?)
        });
        failures.pass(done)?;
    }
    Ok(())
}

fn seal_json(args: &SealArgs, failures: &mut Failures) -> anyhow::Result<()> {
    let mut array = ArrayWriter::new(output::text());
    for path in &args.files {
        let done = seal(path, args.algorithm).and_then(|sealed| Ok(array.push(&sealed.json(path))?));
        failures.pass(done)?;
    }
    Ok(array.finish()?)
}

impl Sealed {
    fn json(&self, path: &Path) -> Map<String, Value> {
        let mut object = Map::new();
        json::put_bytes(&mut object, "path", path.as_os_str().as_bytes());
        object.insert("algorithm".to_owned(), self.digest.algorithm().name().into());
        object.insert("digest".to_owned(), self.digest.to_hex().into());
        object.insert("sealed".to_owned(), if self.is_new { "now" } else { "before" }.into());
        object
    }
}

/// Enables fs-verity on the file at `path` and returns the digest that the kernel measures.
fn seal(path: &Path, algorithm: Algorithm) -> anyhow::Result<Sealed> {
    let cannot = || format!("cannot seal {}", path.display());
    // fs-verity refuses a file that is open for writing, also by us.
    let file = open_seekable(path).map_err(io::Error::from).with_context(cannot)?;
    if !file.metadata().with_context(cannot)?.is_file() {
        bail!("cannot seal {}: it is not a regular file", path.display());
    }
    let is_new = match enable(&file, algorithm.kernel_number(), BLOCK_SIZE) {
        Ok(Enabled::Now) => true,
        Ok(Enabled::Before) => false,
        Ok(Enabled::Unsupported) => return Err(unsupported(path)),
        Err(error) => return Err(refused(path, &error)),
    };
    let digest = match measure(file.as_fd()).with_context(cannot)? {
        Measurement::Digest(found) => digest_of(found.algorithm, &found.digest)
            .with_context(|| format!("{} is sealed with an algorithm that composefs does not use", path.display()))?,
        Measurement::Refused(errno) => return Err(refused(path, &errno.into())),
        Measurement::NotEnabled | Measurement::Unsupported => return Err(unsupported(path)),
    };
    if digest.algorithm() != algorithm {
        return Err(with_remedy(
            format!("{} is already sealed with {}, not {algorithm}", path.display(), digest.algorithm()),
            "fs-verity cannot be changed or disabled: copy the file and seal the copy",
        ));
    }
    Ok(Sealed { digest, is_new })
}

/// Returns the error for a file whose file system has no fs-verity.
fn unsupported(path: &Path) -> anyhow::Error {
    let (reason, remedy) = doctor::no_verity(path);
    with_remedy(
        format!("cannot seal {}: {reason}", path.display()),
        format!("{remedy}; `composefs doctor {}` checks the directory", directory(path).display()),
    )
}

/// Returns the error for a request that the kernel refused.
fn refused(path: &Path, error: &io::Error) -> anyhow::Error {
    let cannot = format!("cannot seal {}: {error}", path.display());
    match Errno::from_io_error(error) {
        Some(Errno::TXTBSY) => with_remedy(
            format!("{cannot}: a process has the file open for writing"),
            "close the file in that process and seal it again",
        ),
        Some(Errno::NOPKG) => {
            with_remedy(format!("{cannot}: the kernel does not have the hash algorithm"), "choose another --algorithm")
        }
        errno => match errno.and_then(refusal_cause) {
            Some(cause) => with_remedy(
                format!("{cannot}: {cause}"),
                format!("run `composefs doctor {}`", directory(path).display()),
            ),
            None => anyhow!(cannot),
        },
    }
}

/// Returns the directory that a file is in.
fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
