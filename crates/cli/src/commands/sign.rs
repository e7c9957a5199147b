//! `composefs sign`: signs a statement about an image, or adds one that was signed elsewhere.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail, ensure};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Digest;
use libcomposefs_repo::{SIGNATURE_FILE_MAX, StoredSignature};
use libcomposefs_sys::input;
use libcomposefs_trust::{NAMESPACE, NamePattern, Statement, digest_statement, pkcs7_pem};
use serde_json::json;

use super::repository::{NameOperand, RepositoryArgs};
use crate::{complete, output};

/// Sign an image of a repository: say with a key that a digest is the image of a name.
///
/// The statement that is signed has the digest of the image, its name, a serial number and times. The signature is one
/// of OpenSSH, made by ssh-keygen with --key, so keys in an agent and hardware keys work as they are. Statement and
/// signature lie beside the image in the repository, and travel with it by `sync`, `push`, `pull` and bundles. Which
/// keys count for which names is the business of the policy on the receiving machine (docs/format/trust.md).
///
/// To sign elsewhere, print the statement with --print, sign it there with `ssh-keygen -Y sign -n composefs-image`, and
/// add both files with --add.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct SignArgs {
    /// Image, by name or digest
    #[arg(value_name = "REF|DIGEST", add = ArgValueCompleter::new(complete::images), required_unless_present = "add")]
    image: Option<NameOperand>,
    /// Private key, or the public key of one in the agent: signs with it; may be given several times
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["print", "add", "pkcs7"])]
    key: Vec<PathBuf>,
    /// Print the statement, and sign nothing
    #[arg(long, conflicts_with = "key")]
    print: bool,
    /// Add a statement and a signature of it, which were made elsewhere; the image need not be here
    #[arg(long, num_args = 2, value_names = ["STATEMENT", "SIGNATURE"], conflicts_with_all = ["image", "key", "print"])]
    add: Vec<PathBuf>,
    /// Add a PKCS#7 signature of the image's digest, in DER or PEM, as `fsverity sign` makes it. It is good for every
    /// name, has no serial number, and counts for the certificates of a policy
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "print", "add", "name", "serial", "expires"])]
    pkcs7: Option<PathBuf>,
    /// Sign the bootable image of an OCI image (`oci pull --bootable`), not its image for containers
    #[arg(long, conflicts_with = "add")]
    bootable: bool,
    /// Name in the statement; may end in * for all names that begin so [default: the name of the image]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Serial number of the statement, which grows with each image of the name [default: seconds since 1970]
    #[arg(long, value_name = "NUMBER")]
    serial: Option<u64>,
    /// End of the statement: a time such as 2027-06-01T00:00:00Z, or an age such as 90d from now
    #[arg(long, value_name = "TIME", value_parser = end)]
    expires: Option<SystemTime>,
    /// Print the result as JSON
    #[arg(long, conflicts_with = "print")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images sign debian/13 --key=release --expires=90d
  composefs --repo=/srv/images sign debian/13 --as='debian/*' --serial=42 --print > statement
  ssh-keygen -Y sign -f key -n composefs-image statement
  composefs --repo=/srv/images sign --add statement statement.sig
  composefs --repo=/srv/images sign debian/13 --pkcs7=image.p7s
  composefs --repo=/srv/images sign registry.example/os:2 --bootable --key=release

Exit status: 0 if everything was signed or added, 1 if not.";

/// Parses the end of a statement.
fn end(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339(text) {
        return Ok(time);
    }
    let age: Result<Duration, _> = humantime::parse_duration(text);
    // A statement has years of four digits.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    let time = age.ok().and_then(|age| SystemTime::now().checked_add(age)).filter(|time| *time <= last);
    time.ok_or_else(|| "expected a time such as 2027-06-01T00:00:00Z, or an age such as 90d".into())
}

pub(super) fn run(args: &SignArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let repository = selected.open()?;
    if let [statement, signature] = args.add.as_slice() {
        let stored = StoredSignature { statement: read(statement)?, signature: read(signature)? };
        let parsed = Statement::parse(&stored.statement);
        let parsed = parsed.with_context(|| format!("{} is no statement", statement.display()))?;
        ensure!(
            stored.signature.starts_with(b"-----BEGIN SSH SIGNATURE-----"),
            "{} is no signature of OpenSSH: it does not begin with -----BEGIN SSH SIGNATURE-----",
            signature.display()
        );
        let is_new = repository.add_signature(&parsed.digest, &stored)?;
        report(args, &parsed.digest, parsed.name.as_str(), parsed.serial, u64::from(is_new));
        return Ok(());
    }
    let operand = args.image.as_ref().context("an image is needed")?;
    let image = operand.resolve_as(&repository, selected.names(), args.bootable)?.image;
    let reader = repository.reader()?;
    let (digest, file) = reader.open_named(&image)?;
    // What is signed is what the file has.
    repository.read_open_image(&digest, file.as_fd())?;
    if let Some(path) = &args.pkcs7 {
        let signature = pkcs7_pem(&read(path)?);
        let signature = signature.map_err(|error| anyhow!("{}: {error}", path.display()))?.into_bytes();
        let stored = StoredSignature { statement: digest_statement(&digest).into_bytes(), signature };
        let is_new = repository.add_signature(&digest, &stored)?;
        report(args, &digest, &operand.to_string(), 0, u64::from(is_new));
        return Ok(());
    }
    let name = args.name.clone().unwrap_or_else(|| operand.to_string());
    if args.name.is_none() && name == digest.to_hex() {
        bail!("a statement needs a name: use --as=NAME, or the ref of the image");
    }
    let since_1970 = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map(|age| age.as_secs());
    let serial = args.serial.map_or_else(since_1970, Ok).context("the clock is before 1970: use --serial")?;
    let mut statement = Statement::new(digest, NamePattern::new(&name)?, serial);
    statement.issued = Some(SystemTime::now());
    statement.expires = args.expires;
    let line = statement.to_line();
    if args.print {
        out!("{}", line.trim_end());
        return Ok(());
    }
    let mut new = 0;
    for key in &args.key {
        let signature = ssh_sign(key, line.as_bytes())?;
        let stored = StoredSignature { statement: line.clone().into_bytes(), signature };
        new += u64::from(repository.add_signature(&digest, &stored)?);
    }
    report(args, &digest, &name, serial, new);
    Ok(())
}

/// Signs with a key of OpenSSH. `ssh-keygen` asks for a passphrase or a touch on the terminal.
fn ssh_sign(key: &Path, statement: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut sign = Command::new("ssh-keygen");
    sign.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key).stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = sign.spawn().context("cannot run ssh-keygen: install openssh-client, or sign elsewhere (--print)")?;
    // A statement is shorter than what a pipe holds.
    let written = child.stdin.as_ref().map_or(Ok(()), |mut stdin| stdin.write_all(statement));
    let output = child.wait_with_output().context("cannot read what ssh-keygen writes")?;
    ensure!(output.status.success(), "ssh-keygen could not sign with {}: {}", key.display(), output.status);
    written.context("cannot pass the statement to ssh-keygen")?;
    Ok(output.stdout)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = input::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut bytes = Vec::new();
    let read = file.take(SIGNATURE_FILE_MAX + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(bytes.len() as u64 <= SIGNATURE_FILE_MAX, "{} has more than {SIGNATURE_FILE_MAX} bytes", path.display());
    Ok(bytes)
}

fn report(args: &SignArgs, digest: &Digest, name: &str, serial: u64, new: u64) {
    if args.json {
        output::json(&json!({ "digest": digest.to_hex(), "name": name, "serial": serial, "new": new }));
    } else {
        let new = super::repository::counted(new, "new signature");
        out!("{digest} {name}: serial {serial}, {new}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_a_time_or_an_age() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(end("1970-01-02T00:00:00Z"), Ok(at(86_400)));
        assert!(end("90d").unwrap() > SystemTime::now() + Duration::from_secs(89 * 86_400));
        for wrong in ["", "tomorrow", "90", "8000years", "999999999999999999years", "2027-13-01T00:00:00Z"] {
            assert!(end(wrong).is_err(), "{wrong}");
        }
    }
}
