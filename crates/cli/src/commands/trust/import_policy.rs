//! `composefs trust import-policy`: makes a policy of policy.json.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, ensure};
use libcomposefs_sys::input;
use libcomposefs_trust::{POLICY_MAX, import_containers_policy};
use serde_json::json;

use crate::error_text::with_remedy;
use crate::output;

/// Print a policy made of policy.json, the policy of podman, skopeo and buildah.
///
/// The scopes of registries become rules for the names that `oci pull` gives by default, and the keys of sigstoreSigned
/// (keyPath, keyPaths, keyData, keyDatas) keys of OpenSSH. The rules ask for statements signed by these keys
/// (`composefs sign`, `ssh-keygen -Y sign`), not for the signatures of manifests that policy.json is about. What a rule
/// cannot say is an error: GPG keys (signedBy), certificates of fulcio, logs of rekor, pki, other identities, and all
/// hosts of a domain. Nothing is written: the policy of the machine is /etc/composefs/policy.toml.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ImportPolicyArgs {
    /// File to read
    #[arg(value_name = "FILE", default_value = "/etc/containers/policy.json", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Print the policy as JSON: its text and the transports that were left out
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  composefs trust import-policy > policy.toml
  composefs trust import-policy policy.json --json | jq -r .policy

Exit status: 0 if the whole policy could be said by rules, 1 if not.";

pub(super) fn run(args: &ImportPolicyArgs) -> anyhow::Result<()> {
    let shown = args.file.display();
    let text = String::from_utf8(read(&args.file)?).map_err(|_| anyhow!("{shown} is not text"))?;
    // A key that stands twice, and types of requirements that no program knows.
    #[cfg(feature = "network")]
    libcomposefs_remote::policy::SignaturePolicy::parse(&text, &args.file)?;
    let read_key = |path: &str| read(Path::new(path)).map_err(|error| format!("{error:#}"));
    let imported = import_containers_policy(&text, read_key).map_err(|reason| {
        with_remedy(format!("{shown} cannot become a policy: {reason}"), "write the rules of these images by hand")
    })?;
    for transport in &imported.other_transports {
        tell!("composefs: warning: the scopes of the transport {transport} were left out: rules are about names");
    }
    if args.json {
        output::json(&json!({ "policy": imported.text, "left_out": imported.other_transports }));
        return Ok(());
    }
    let mut out = output::text();
    out.write_all(imported.text.as_bytes())?;
    Ok(out.flush()?)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let file = input::open(path).with_context(|| format!("cannot open {shown}"))?;
    file.take(POLICY_MAX as u64 + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {shown}"))?;
    ensure!(bytes.len() <= POLICY_MAX, "{shown} has more than {POLICY_MAX} bytes, which no policy or key has");
    Ok(bytes)
}
