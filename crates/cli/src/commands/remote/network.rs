//! Remotes on servers: their stores by scheme, with the settings of the environment.

use std::env;
use std::path::PathBuf;

use anyhow::bail;
use libcomposefs_delivery::RemoteStore;
use libcomposefs_remote::{
    ClientOptions, RegistryStore, S3Environment, S3Store, SshOptions, SshStore, TlsVerify, WebStore, server_name,
};

use super::server_args::ServerArgs;
use crate::commands::oci::locations::locations;
use crate::commands::oci::registry::environment_options;

/// Opens the store of a URL.
pub(super) fn open(scheme: &str, url: &str, server: &ServerArgs) -> anyhow::Result<Box<dyn RemoteStore>> {
    let options = || client_options(url, server);
    Ok(match scheme {
        "https" | "http" => Box::new(WebStore::open(url, options(), &netrc_files())?),
        "s3" => Box::new(S3Store::open(url, options(), &s3_environment())?),
        "oci" => Box::new(RegistryStore::open(url, options())?),
        "ssh" => Box::new(SshStore::open(url, ssh_options())?),
        "docker" => {
            bail!("container images are pulled by `composefs oci pull {url}`; a remote in a registry is oci://")
        }
        _ => bail!("there are no remotes of the kind {scheme}://: use a directory, https, s3, oci or ssh"),
    })
}

/// Returns the options of the environment and of the command line. Only the server of the remote itself may be
/// insecure, and not one that it redirects to.
fn client_options(url: &str, server: &ServerArgs) -> ClientOptions {
    let tls_verify = match server.tls_verify {
        true => TlsVerify::Verify,
        false => TlsVerify::InsecureHosts(server_name(url, &s3_environment()).into_iter().collect()),
    };
    ClientOptions { locations: locations(server.authfile.clone()), tls_verify, ..environment_options() }
}

/// Returns the value of a variable that is not empty.
fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
}

fn home(path: &str) -> Option<PathBuf> {
    env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| PathBuf::from(home).join(path))
}

/// Returns the files with passwords, as curl has them.
fn netrc_files() -> Vec<PathBuf> {
    match variable(&["NETRC"]) {
        Some(path) => vec![path.into()],
        None => [".netrc", "_netrc"].into_iter().filter_map(home).collect(),
    }
}

fn s3_environment() -> S3Environment {
    let file = |name: &str, path: &str| variable(&[name]).map(PathBuf::from).or_else(|| home(path));
    S3Environment {
        access_key: variable(&["AWS_ACCESS_KEY_ID"]),
        secret_key: variable(&["AWS_SECRET_ACCESS_KEY"]),
        session_token: variable(&["AWS_SESSION_TOKEN"]),
        region: variable(&["AWS_REGION", "AWS_DEFAULT_REGION"]),
        endpoint: variable(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
        profile: variable(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]),
        credentials_file: file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
        config_file: file("AWS_CONFIG_FILE", ".aws/config"),
    }
}

fn ssh_options() -> SshOptions {
    let program = variable(&["COMPOSEFS_SSH"]).unwrap_or_else(|| "ssh".to_owned());
    let interrupt = crate::interrupt::flag_of_command();
    SshOptions { program: program.into(), interrupt, ..SshOptions::default() }
}
