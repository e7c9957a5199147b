//! `composefs seal`: enables fs-verity on files and prints their digests.

use std::io::{self, Read as _, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail, ensure};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_store::digest_of;
use libcomposefs_sys::input::{self, open_seekable};
use libcomposefs_sys::verity::{
    Enabled, Measurement, SIGNATURE_MAX, enable_signed, measure, read_signature, refusal_cause, verifies_signatures,
};
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
/// With --kernel-signature, only a process whose kernel has the key in its keyring .fs-verity can open the file from
/// then on, and the mount option signed can demand such a signature. The digest is the same.
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

    /// Signature of the file, which the kernel stores with it and verifies whenever it opens the file: PKCS#7 in DER,
    /// detached, of the kernel's formatted digest
    #[arg(long, value_name = "SIGNATURE")]
    kernel_signature: Option<PathBuf>,

    /// Print a JSON array of objects with path, algorithm, digest, and sealed: now or before
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs seal rootfs.img
  composefs mount rootfs.img /mnt -o basedir=objects,digest=$(composefs seal rootfs.img | cut -d' ' -f1)
  composefs seal --algorithm=sha512 --json *.img
  composefs digest --formatted rootfs.img > digest
  openssl smime -sign -binary -noattr -in digest -signer cert.pem -inkey key.pem -outform der -out rootfs.p7s
  composefs seal --kernel-signature=rootfs.p7s rootfs.img

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

/// Seals the file at a path as the arguments say.
type Seal<'a> = &'a dyn Fn(&Path) -> anyhow::Result<Sealed>;

/// Runs the command and returns its exit status.
pub(super) fn run(args: &SealArgs) -> ExitCode {
    let mut failures = Failures::default();
    let done = read_signature_file(args).and_then(|signature| {
        let seal = |path: &Path| seal(path, args.algorithm, signature.as_deref());
        if args.json { seal_json(args, &seal, &mut failures) } else { seal_text(args, &seal, &mut failures) }
    });
    failures.status(done)
}

/// Reads the file of `--kernel-signature`.
fn read_signature_file(args: &SealArgs) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = &args.kernel_signature else { return Ok(None) };
    ensure!(
        args.files.len() == 1,
        "--kernel-signature is the signature of one file, and {} are given",
        args.files.len()
    );
    ensure!(
        verifies_signatures(),
        "this kernel does not verify signatures of files (CONFIG_FS_VERITY_BUILTIN_SIGNATURES), or /proc is not mounted"
    );
    let file = input::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut bytes = Vec::new();
    let read = file.take(SIGNATURE_MAX as u64 + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(!bytes.is_empty(), "{} is empty", path.display());
    ensure!(
        bytes.len() <= SIGNATURE_MAX,
        "{} has more than {SIGNATURE_MAX} bytes, the most that the kernel stores",
        path.display()
    );
    Ok(Some(bytes))
}

fn seal_text(args: &SealArgs, seal: Seal<'_>, failures: &mut Failures) -> anyhow::Result<()> {
    let mut out = output::text();
    let names = if output::is_terminal() { NameFormat::Escaped } else { NameFormat::Raw };
    for path in &args.files {
        let done = seal(path).and_then(|sealed| {
            write!(out, "{}  ", sealed.digest)?;
            out.write_all(&names.show(path.as_os_str().as_bytes()))?;
            writeln!(out)?;
            Ok(out.flush()?)
        });
        failures.pass(done)?;
    }
    Ok(())
}

fn seal_json(args: &SealArgs, seal: Seal<'_>, failures: &mut Failures) -> anyhow::Result<()> {
    let mut array = ArrayWriter::new(output::text());
    for path in &args.files {
        let done = seal(path).and_then(|sealed| Ok(array.push(&sealed.json(path))?));
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

/// Enables fs-verity on the file at `path`, with a signature if one is given, and returns the digest that the kernel
/// measures.
fn seal(path: &Path, algorithm: Algorithm, signature: Option<&[u8]>) -> anyhow::Result<Sealed> {
    let cannot = || format!("cannot seal {}", path.display());
    // fs-verity refuses a file that is open for writing, also by us.
    let file = open_seekable(path).map_err(io::Error::from).with_context(cannot)?;
    if !file.metadata().with_context(cannot)?.is_file() {
        bail!("cannot seal {}: it is not a regular file", path.display());
    }
    let is_new = match enable_signed(&file, algorithm.kernel_number(), BLOCK_SIZE, signature.unwrap_or_default()) {
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
    if let Some(signature) = signature
        && !is_new
        && read_signature(&file).with_context(cannot)?.as_deref() != Some(signature)
    {
        return Err(with_remedy(
            format!("{} is already sealed, without this signature", path.display()),
            "fs-verity cannot be changed or disabled: copy the file, seal the copy, and rename it over this one",
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
        Some(Errno::NOKEY) => with_remedy(
            format!("{cannot}: the key of the signature is not in the kernel's keyring .fs-verity"),
            "add the certificate with `keyctl padd asymmetric '' %:.fs-verity < cert.der`",
        ),
        Some(Errno::KEYREJECTED | Errno::BADMSG) => with_remedy(
            format!("{cannot}: it is no signature of this file by a key of the keyring .fs-verity"),
            "sign what `composefs digest --formatted FILE` prints: PKCS#7 in DER, detached, without attributes",
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
