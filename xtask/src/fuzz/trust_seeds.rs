//! Makes the seeds of the fuzz target of trust: the statements, signatures and keys of the golden tests.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::seeds;
use crate::paths;

/// A statement, a signature and a policy with two of the keys, with a NUL between them.
pub(super) fn decisions(dir: &Path, max_len: usize) -> Result<()> {
    let golden = |name: &str| {
        let path = paths::checkout().join("crates/trust/tests/golden").join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut policy = "version = 1\ndefault = \"accept\"\nenforce_expiry = \"mount\"\n".to_owned();
    for name in ["release", "old"] {
        policy.push_str(&format!("[key.{name}]\nssh = \"{}\"\n", golden(&format!("{name}.pub"))?.trim()));
    }
    policy
        .push_str("revoked = \"lost\"\n[[rule]]\nname = \"debian/*\"\nkeys = [\"release\", \"old\"]\nthreshold = 2\n");
    policy.push_str("min_serial = 7\nmax_age = \"90d\"\n[[rule]]\nname = \"test\"\naccept = true\n");
    for (statement, signature) in [
        ("st42", "st42.release"),
        ("st42", "st42.old"),
        ("st42", "st42.namespace"),
        ("st41", "st41.release"),
        ("pretty", "pretty.release"),
    ] {
        let parts = [golden(statement)?, golden(&format!("{signature}.sig"))?, policy.clone()];
        seeds::put(dir, max_len, signature, parts.join("\0").as_bytes())?;
    }
    // A PKCS#7 signature, which its target reads beside a statement of its own, and a policy with its certificate.
    let policy = format!("version = 1\n[key.a]\npkcs7 = \"\"\"{}\"\"\"\n", golden("kernel.pem")?);
    seeds::put(dir, max_len, "kernel", [String::new(), golden("kernel.p7s")?, policy].join("\0").as_bytes())?;
    Ok(())
}
