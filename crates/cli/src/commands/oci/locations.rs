//! Places of the configuration files of containers, by the environment of the program.

use std::env;
use std::path::PathBuf;

use libcomposefs_remote::Locations;

/// Returns the places. `auth_file` is the file with credentials from the command line.
pub(crate) fn locations(auth_file: Option<PathBuf>) -> Locations {
    let path = |name: &str| env::var_os(name).map(PathBuf::from);
    Locations {
        auth_file,
        registry_auth_file: path("REGISTRY_AUTH_FILE"),
        runtime_dir: path("XDG_RUNTIME_DIR"),
        config_home: path("XDG_CONFIG_HOME"),
        docker_config: path("DOCKER_CONFIG"),
        home: path("HOME"),
        uid: rustix::process::geteuid().as_raw(),
        program_dirs: env::var_os("PATH").map(|dirs| env::split_paths(&dirs).collect()).unwrap_or_default(),
        storage_conf: path("CONTAINERS_STORAGE_CONF"),
        user: env::var("USER").ok(),
        registries_conf: path("CONTAINERS_REGISTRIES_CONF"),
        ..Locations::default()
    }
}
