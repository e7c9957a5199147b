//! Substitutions: directories whose contents are labelled like those of another directory.

use std::collections::HashMap;

use crate::error::{LabelError, LineRule};
use crate::line::each_line;
use crate::policy_files::PolicyFile;

/// Paths that are looked up by another path.
#[derive(Clone, Debug, Default)]
pub(crate) struct Aliases(HashMap<Vec<u8>, Vec<u8>>);

impl Aliases {
    /// Reads files of substitutions; later lines replace earlier ones.
    pub(crate) fn read(files: &[PolicyFile]) -> Result<Self, LabelError> {
        let mut aliases = HashMap::new();
        for file in files {
            each_line(file, |_, fields| {
                let [alias, original] = *fields else {
                    return Err(LineRule::Substitution { found: fields.len() });
                };
                aliases.insert(alias.as_bytes().to_vec(), original.as_bytes().to_vec());
                Ok(())
            })?;
        }
        Ok(Self(aliases))
    }

    /// Appends a name to the path of a directory, and replaces the path if it is an alias.
    pub(crate) fn descend(&self, path: &mut Vec<u8>, name: &[u8]) {
        path.push(b'/');
        path.extend_from_slice(name);
        if let Some(original) = self.0.get(path.as_slice()) {
            path.clone_from(original);
        }
    }
}
