//! Signatures of commits: by keys of the command line, and by those that the policies ask for.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use libcomposefs_ostree::{Commit, Id, Repo, SignedCommit};
use libcomposefs_sys::input;
use libcomposefs_trust::{CommitAcceptance, CommitKey};

use crate::error_text::with_remedy;
use crate::trust::ImageTrust;

/// Greatest size of a file of keys, in bytes.
const KEYS_MAX: u64 = 64 << 10;

/// Judges a commit that becomes the image of a name. Returns what each policy with a rule for such commits says.
///
/// `reference` is the name by which the commit was found. A signature is about the bytes of a commit: that they are of
/// this branch is known only by the branches that the commit names.
pub(super) fn judge(
    repo: &Repo,
    commit: &Commit,
    reference: &str,
    name: &str,
) -> anyhow::Result<Vec<CommitAcceptance>> {
    let trust = ImageTrust::load()?;
    let mut accepted = Vec::new();
    for loaded in trust.policies().iter().filter(|loaded| loaded.policy.has_commit_rule(name)) {
        let (path, id) = (loaded.path.display(), commit.id);
        let SignedCommit { bytes, signatures } = repo.signed_commit(&id)?;
        match loaded.policy.judge_commit(name, &bytes, &signatures) {
            Ok(by) => accepted.extend(by),
            Err(refusal) => {
                let error = format!("{path} refuses commit {id} as the image of {name}: {refusal}");
                let remedy = "import a commit that is signed (ostree sign --sign-type=ed25519), or change the rule";
                return Err(with_remedy(error, remedy));
            }
        }
        if let Some(error) = other_branch(commit, reference) {
            let remedy = "import the branch that the commit is of, or name the commit by its checksum";
            return Err(with_remedy(format!("{path} refuses commit {id} as the image of {name}: {error}"), remedy));
        }
    }
    Ok(accepted)
}

/// Returns why a commit that was found by the name of a branch is not known to be of that branch.
fn other_branch(commit: &Commit, reference: &str) -> Option<String> {
    if Id::from_hex(reference).is_some() {
        return None;
    }
    let branch = reference.split_once(':').map_or(reference, |(_, branch)| branch);
    let bound = &commit.object.bound_refs;
    if bound.iter().any(|name| name == branch) {
        return None;
    }
    let bound = if bound.is_empty() { "of none".to_owned() } else { format!("of {}", bound.join(", ")) };
    Some(format!("it is signed as a commit {bound}, not of the branch {branch}"))
}

/// Checks that one of the keys has signed a commit, and returns that key. A key is base64, or a file with a key in each
/// line.
pub(super) fn check_keys(repo: &Repo, commit: &Commit, words: &[String]) -> anyhow::Result<CommitKey> {
    let mut keys = Vec::new();
    for word in words {
        match CommitKey::parse(word) {
            Ok(key) => keys.push(key),
            Err(reason) => {
                keys.extend(read_keys(Path::new(word)).with_context(|| format!("the key {word}: {reason}"))?)
            }
        }
    }
    let SignedCommit { bytes, signatures } = repo.signed_commit(&commit.id)?;
    let by = keys.into_iter().find(|key| key.has_signed(&bytes, &signatures));
    by.ok_or_else(|| {
        let count = signatures.len();
        let error = format!("commit {} is signed by none of the keys: it has {count} Ed25519 signatures", commit.id);
        with_remedy(error, "sign it with `ostree sign --sign-type=ed25519`, or name the key that has signed it")
    })
}

fn read_keys(path: &Path) -> anyhow::Result<Vec<CommitKey>> {
    let shown = path.display();
    let mut text = String::new();
    let file = input::open(path).with_context(|| format!("it is no file either: cannot open {shown}"))?;
    file.take(KEYS_MAX).read_to_string(&mut text).with_context(|| format!("cannot read {shown}"))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let key = |line| CommitKey::parse(line).map_err(|reason| anyhow!("{shown}: {reason}"));
    lines.map(key).collect()
}
