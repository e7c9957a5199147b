//! The files of a policy: which ones a tree has.

use std::error::Error;

use crate::error::{FILE_MAX, LabelError};

/// A file of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    /// Path in the tree.
    pub path: String,
    /// Content.
    pub content: Vec<u8>,
}

/// The files of a policy that have effect on labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyFiles {
    /// `file_contexts`, `.local` and `.homedirs`, in this order.
    pub contexts: Vec<PolicyFile>,
    /// `file_contexts.subs` and `.subs_dist`, in this order.
    pub substitutions: Vec<PolicyFile>,
}

const CONFIG: &str = "/etc/selinux/config";

impl PolicyFiles {
    /// Finds the policy that `/etc/selinux/config` names. `read` returns the content of a file of the tree, or `None`
    /// if there is no such file; it need not return more than one byte beyond [`FILE_MAX`].
    ///
    /// Returns `None` if there is no configuration, or if it names no policy: such a tree has no labels.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is too large, or the policy is missing.
    pub fn find<E>(mut read: impl FnMut(&str) -> Result<Option<Vec<u8>>, E>) -> Result<Option<Self>, LabelError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut read = |path: String| -> Result<Option<PolicyFile>, LabelError> {
            match read(&path) {
                Err(error) => Err(LabelError::Read { path, source: error.into() }),
                Ok(Some(content)) if content.len() as u64 > FILE_MAX => Err(LabelError::TooLarge { path }),
                Ok(content) => Ok(content.map(|content| PolicyFile { path, content })),
            }
        };
        let Some(config) = read(CONFIG.to_owned())? else { return Ok(None) };
        let Some(name) = policy_name(&config.content)? else { return Ok(None) };
        let prefix = format!("/etc/selinux/{name}/contexts/files/file_contexts");
        let path = prefix.clone();
        let mut files = Self::default();
        files.contexts.push(read(prefix.clone())?.ok_or(LabelError::NoPolicy { path })?);
        for suffix in [".local", ".homedirs"] {
            files.contexts.extend(read(format!("{prefix}{suffix}"))?);
        }
        for suffix in [".subs", ".subs_dist"] {
            files.substitutions.extend(read(format!("{prefix}{suffix}"))?);
        }
        Ok(Some(files))
    }
}

/// Returns the value of the first `SELINUXTYPE`.
fn policy_name(config: &[u8]) -> Result<Option<String>, LabelError> {
    let config = String::from_utf8_lossy(config);
    let mut pairs = config.lines().filter_map(|line| line.split_once('='));
    let Some((_, name)) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case("SELINUXTYPE")) else {
        return Ok(None);
    };
    let name = name.trim().to_owned();
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0', char::REPLACEMENT_CHARACTER]) {
        return Err(LabelError::Name { name });
    }
    Ok(Some(name))
}
