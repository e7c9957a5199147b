//! `composefs ipe-policy`: prints a policy of IPE under which exactly the programs of an image run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use anyhow::{bail, ensure};
use clap_complete::engine::ArgValueCompleter;
use libcomposefs_image::Digest;
use libcomposefs_image::tree::Kind;
use libcomposefs_store::Basedirs;
use serde_json::json;

use super::repository::{RepositoryArgs, counted};
use crate::error_text::with_remedy;
use crate::inspect::image::{InspectedImage, inspect};
use crate::inspect::inode_info::{ContentForm, InodeInfo};
use crate::inspect::names::NameFormat;
use crate::operand::IMAGES;
use crate::{complete, output};

/// Greatest size of a policy, in bytes. The kernel takes 65,535 bytes of a signed one (`lib/asn1_decoder.c` reads
/// lengths of two bytes); signature and names need the rest.
const POLICY_MAX: usize = 62 << 10;
/// Bytes that tell an ELF file, and its type, which is in the bytes 16 and 17.
const ELF_HEAD: usize = 18;
/// Type of an ELF file that is not linked, such as a kernel module.
const ET_REL: u16 = 1;

/// Print a policy of IPE (Integrity Policy Enforcement, since Linux 6.12) under which exactly the programs of an image
/// run.
///
/// Each program and each shared library is allowed by its fs-verity digest: executable files, and ELF files that are
/// not, but for those that are not linked, such as kernel modules. The rules hold wherever these contents lie, in a
/// mount of composefs or in the object directory, if fs-verity is enabled on them; everything else is denied for
/// execution, except what the initramfs has. IPE does not see what an interpreter reads: `sh FILE` runs any script.
/// Files whose content is in the image itself (at most 64 bytes) have no digest of their own and cannot be allowed: the
/// command warns of them.
///
/// The kernel takes only a policy that a key has signed which it trusts, of at most 64 KiB: about 580 programs
/// (docs/guides/ipe.md).
#[derive(clap::Args)]
#[command(after_help = format!("{IMAGES}\n\n{EXAMPLES}"))]
pub(super) struct IpePolicyArgs {
    /// Image: a file, or a ref or digest of the repository
    #[arg(value_name = "IMAGE", add = ArgValueCompleter::new(complete::operands))]
    image: PathBuf,
    /// Only the programs at this path or below; may be given several times
    #[arg(long, value_name = "PATH")]
    only: Vec<OsString>,
    /// Name of the policy
    #[arg(long, value_name = "NAME", default_value = "composefs", value_parser = policy_name)]
    policy_name: String,
    /// Version of the policy, which must not fall when the policy is replaced, as A.B.C
    #[arg(long, value_name = "VERSION", default_value = "0.0.1", value_parser = policy_version)]
    policy_version: String,
    /// Object directory; may be given several times [default for images of the repository: its objects]
    #[arg(long, value_name = "DIR")]
    basedir: Vec<PathBuf>,
    /// Print the policy as JSON: its text, the programs with their digests, and those that no rule can allow
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs --repo=/srv/images ipe-policy app/1 > app.policy
  composefs --repo=/srv/images ipe-policy app/2 --policy-version=0.0.2 --only=/usr/bin --only=/usr/lib/libapp.so
  openssl smime -sign -binary -nodetach -noattr -nosmimecap -signer cert.pem -inkey key.pem -outform der \\
      -in app.policy -out app.p7b

Exit status: 0 if the policy was printed, 1 if not.";

/// Checks the name of a policy: the kernel makes a directory of it.
fn policy_name(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_name = !text.is_empty() && text.len() <= 64 && text.chars().all(is_plain) && !text.starts_with('.');
    if is_name { Ok(text.to_owned()) } else { Err("expected 1 to 64 letters, digits, `.`, `_` and `-`".to_owned()) }
}

/// Checks a version: three numbers of 16 bits.
fn policy_version(text: &str) -> Result<String, String> {
    let numbers: Option<Vec<u16>> = text.split('.').map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some([one, two, three]) => Ok(format!("{one}.{two}.{three}")),
        _ => Err("expected three numbers from 0 to 65535, as in 0.0.1".to_owned()),
    }
}

/// The programs of an image.
#[derive(Default)]
struct ImagePrograms {
    /// By digest, with the first path.
    allowed: BTreeMap<Vec<u8>, (Digest, Vec<u8>)>,
    /// Paths of executable files without a digest.
    without_digest: Vec<Vec<u8>>,
}

pub(super) fn run(args: &IpePolicyArgs, selected: &RepositoryArgs) -> anyhow::Result<()> {
    let programs = inspect(&args.image, selected, |image| {
        let basedirs = image.basedirs(Basedirs::open(&args.basedir)?)?;
        find_programs(image, &basedirs, &args.only)
    })?;
    let shown = |path: &[u8]| NameFormat::Escaped.text(path);
    for path in &programs.without_digest {
        tell!("composefs: warning: no rule can allow {}: its content is in the image, without a digest", shown(path));
    }
    if programs.allowed.is_empty() {
        bail!("{} has no programs{}", args.image.display(), if args.only.is_empty() { "" } else { " at these paths" });
    }
    let policy = policy(args, &programs);
    if policy.len() > POLICY_MAX {
        let count = counted(programs.allowed.len() as u64, "program");
        let error = format!(
            "the policy has {count} and {} bytes; {POLICY_MAX} is the limit: the kernel takes 64 KiB of a signed one",
            policy.len()
        );
        return Err(with_remedy(
            error,
            "choose programs by --only=PATH, or sign the objects (fsverity_signature=TRUE)",
        ));
    }
    if args.json {
        let program = |(digest, path): &(Digest, Vec<u8>)| json!({ "path": shown(path), "digest": digest.to_hex() });
        output::json(&json!({
            "policy": policy,
            "programs": programs.allowed.values().map(program).collect::<Vec<_>>(),
            "without_digest": programs.without_digest.iter().map(|path| shown(path)).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    let mut out = output::text();
    out.write_all(policy.as_bytes())?;
    Ok(out.flush()?)
}

/// Returns the text of the policy (`Documentation/admin-guide/LSM/ipe.rst`).
fn policy(args: &IpePolicyArgs, programs: &ImagePrograms) -> String {
    let mut text = format!("policy_name={} policy_version={}\n", args.policy_name, args.policy_version);
    text.push_str("DEFAULT action=ALLOW\nDEFAULT op=EXECUTE action=DENY\nop=EXECUTE boot_verified=TRUE action=ALLOW\n");
    for (digest, _) in programs.allowed.values() {
        let algorithm = digest.algorithm();
        // Writing to a string does not fail.
        let _ = writeln!(text, "op=EXECUTE fsverity_digest={algorithm}:{} action=ALLOW", digest.to_hex());
    }
    text
}

/// Finds the programs at these paths and below, or all.
fn find_programs(
    image: &InspectedImage<'_, '_>,
    basedirs: &Basedirs,
    only: &[OsString],
) -> anyhow::Result<ImagePrograms> {
    let loaded = image.load()?;
    let (mut found, mut used) = (ImagePrograms::default(), vec![false; only.len()]);
    let mut entries = loaded.tree.depth_first();
    while let Some((path, entry)) = entries.step() {
        let mut chosen = only.is_empty();
        for (number, wanted) in only.iter().enumerate() {
            if is_below(path, wanted.as_bytes()) {
                (chosen, used[number]) = (true, true);
            }
        }
        if !chosen || loaded.tree.inode(entry.inode).kind() != Kind::Regular {
            continue;
        }
        let node = loaded.node(image.reader, entry.inode).map_err(|error| image.refused(path, error))?;
        add_program(&mut found, &image.info(node, path)?, path, basedirs)?;
    }
    for (wanted, used) in only.iter().zip(used) {
        ensure!(used, "{} has no path {}", image.name(), NameFormat::Escaped.text(wanted.as_bytes()));
    }
    found.without_digest.sort();
    Ok(found)
}

/// Returns true if a path is another one, or is below it.
fn is_below(path: &[u8], above: &[u8]) -> bool {
    let trim = |path: &[u8]| path.iter().skip_while(|byte| **byte == b'/').copied().collect::<Vec<_>>();
    let (path, mut above) = (trim(path), trim(above));
    while above.last() == Some(&b'/') {
        above.pop();
    }
    above.is_empty() || path.strip_prefix(&above[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn add_program(
    found: &mut ImagePrograms,
    info: &InodeInfo<'_>,
    path: &[u8],
    basedirs: &Basedirs,
) -> anyhow::Result<()> {
    let is_executable = info.node.mode() & 0o111 != 0;
    let payload = match (info.content, info.payload) {
        (Some(ContentForm::Object), Some(payload)) => payload,
        (Some(ContentForm::Empty), _) => return Ok(()),
        _ if is_executable => {
            found.without_digest.push(path.to_owned());
            return Ok(());
        }
        _ => return Ok(()),
    };
    // Libraries are often not executable. The digest decides what runs, so that the bytes need not be verified here.
    let is_program = is_executable || {
        let words = "name the object directory by --basedir=DIR";
        ensure!(!basedirs.is_empty(), "{} is in an object: {words}", NameFormat::Escaped.text(path));
        is_linked(&basedirs.open_object(payload)?.beginning(ELF_HEAD)?)
    };
    match info.digest {
        _ if !is_program => {}
        Some(digest) => {
            found.allowed.entry(digest.as_bytes().to_vec()).or_insert_with(|| (digest, path.to_owned()));
        }
        None => found.without_digest.push(path.to_owned()),
    }
    Ok(())
}

/// Returns true if these are the first bytes of an ELF file that can be loaded. The byte 5 says the order of others.
fn is_linked(head: &[u8]) -> bool {
    let Some((head, &[one, two])) = head.split_last_chunk::<2>().filter(|_| head.len() == ELF_HEAD) else {
        return false;
    };
    let kind = u16::from_le_bytes(if head[5] == 2 { [two, one] } else { [one, two] });
    head.starts_with(b"\x7fELF") && kind != ET_REL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_are_those_of_the_kernel() {
        assert_eq!(policy_version("0.1.65535"), Ok("0.1.65535".to_owned()));
        for wrong in ["", "1", "1.2", "1.2.3.4", "1.2.65536", "1.2.x", "1.-2.3"] {
            assert!(policy_version(wrong).is_err(), "{wrong}");
        }
        assert!(policy_name("app-1.2_x").is_ok());
        for wrong in ["", ".", "a b", "a/b", "a\nDEFAULT", &"a".repeat(65)] {
            assert!(policy_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_are_below_others() {
        let below = |path: &str, above: &str| is_below(path.as_bytes(), above.as_bytes());
        assert!(below("/usr/bin/a", "/usr/bin") && below("/usr/bin/a", "usr/bin/") && below("/usr/bin", "/usr/bin"));
        assert!(below("/usr", "/") && !below("/usr/bin2", "/usr/bin") && !below("/usr", "/usr/bin"));
    }

    #[test]
    fn linked_elf_files_are_told_by_their_heads() {
        let head = |order: u8, kind: [u8; 2]| [b"\x7fELF\x02", &[order][..], &[0; 10], &kind].concat();
        assert!(is_linked(&head(1, [3, 0])) && is_linked(&head(2, [0, 2])));
        assert!(!is_linked(&head(1, [1, 0])) && !is_linked(&head(2, [0, 1])));
        assert!(!is_linked(&head(1, [3, 0])[..17]) && !is_linked(&[0; 18]));
    }
}
