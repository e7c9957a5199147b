//! Merges the environment of the process: defaults, the image's variables, the user's, then those of its account.

use std::collections::BTreeMap;

use super::defaults::{CONTAINER, PATH};
use super::{ContainerPlace, ImageProcess, RunOptions, RuntimeError};

/// Returns the environment of the process, sorted by name.
pub(super) fn environment(
    image: &ImageProcess,
    options: &RunOptions,
    place: &ContainerPlace,
    working_dir: &str,
) -> Result<Vec<String>, RuntimeError> {
    let mut variables = BTreeMap::from([("PATH", PATH), ("container", CONTAINER)]);
    if options.terminal {
        variables.insert("TERM", "xterm");
    }
    for variable in &image.env {
        // A name alone has an empty value. podman takes such a value from its own environment, which must not leak.
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        variables.insert(checked(name, variable)?, value);
    }
    for (name, value) in &options.env {
        variables.insert(checked(name, name)?, value);
    }
    // As in podman, an account that the image does not have is at home in the working directory.
    let home = Some(place.user.home.as_str()).filter(|home| !home.is_empty()).unwrap_or(working_dir);
    variables.entry("HOME").or_insert(home);
    variables.entry("HOSTNAME").or_insert(&place.hostname);
    variables
        .into_iter()
        .map(|(name, value)| {
            let variable = format!("{name}={value}");
            if variable.contains('\0') {
                return Err(RuntimeError::NulByte { field: "Env", value: variable });
            }
            Ok(variable)
        })
        .collect()
}

fn checked<'a>(name: &'a str, variable: &str) -> Result<&'a str, RuntimeError> {
    if name.is_empty() || name.contains('=') {
        return Err(RuntimeError::UnnamedVariable(variable.to_owned()));
    }
    Ok(name)
}
