//! Places of configuration files, made from values that the caller reads from the environment.

use std::path::{Path, PathBuf};

/// Values of the environment that decide where configuration files are.
///
/// The crate reads no environment: a program fills this in. An empty value counts as missing.
#[derive(Clone, Debug, Default)]
pub struct Locations {
    /// Path of the auth file given on the command line: the only one then.
    pub auth_file: Option<PathBuf>,
    /// Value of `REGISTRY_AUTH_FILE`: the only auth file then.
    pub registry_auth_file: Option<PathBuf>,
    /// Value of `XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// Value of `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// Value of `DOCKER_CONFIG`: a directory with `config.json`.
    pub docker_config: Option<PathBuf>,
    /// Value of `HOME`.
    pub home: Option<PathBuf>,
    /// Effective user id of the process.
    pub uid: u32,
    /// Directories of `PATH`, in which credential helpers are looked up.
    pub program_dirs: Vec<PathBuf>,
    /// Value of `CONTAINERS_REGISTRIES_CONF`: the only registries.conf then.
    pub registries_conf: Option<PathBuf>,
    /// Value of `CONTAINERS_STORAGE_CONF`: the only storage.conf then.
    pub storage_conf: Option<PathBuf>,
    /// Name of the user, for `$USER` in storage.conf.
    pub user: Option<String>,
    /// Directory that stands for `/` in the paths of system files; for tests and for images that are mounted elsewhere.
    pub root: Option<PathBuf>,
    /// Whether the auth files of ostree and bootc are read as well, before those of the user.
    pub with_ostree: bool,
}

impl Locations {
    /// Returns the auth files in the order in which they are read.
    #[must_use]
    pub fn auth_files(&self) -> Vec<AuthFile> {
        if let Some(only) = given(&self.auth_file).or(given(&self.registry_auth_file)) {
            return vec![AuthFile { path: only.to_owned(), is_required: true, is_legacy: false }];
        }
        let mut files = Vec::new();
        let mut add = |path: PathBuf| files.push(AuthFile { path, is_required: false, is_legacy: false });
        if self.with_ostree {
            for path in ["etc/ostree/auth.json", "run/ostree/auth.json", "usr/lib/ostree/auth.json"] {
                add(self.system(path));
            }
        }
        add(match given(&self.runtime_dir) {
            Some(dir) => dir.join("containers/auth.json"),
            None => self.system(&format!("run/containers/{}/auth.json", self.uid)),
        });
        if let Some(dir) = self.user_config() {
            add(dir.join("containers/auth.json"));
        }
        match (given(&self.docker_config), given(&self.home)) {
            (Some(dir), _) => add(dir.join("config.json")),
            (None, Some(home)) => add(home.join(".docker/config.json")),
            (None, None) => {}
        }
        if let Some(home) = given(&self.home) {
            files.push(AuthFile { path: home.join(".dockercfg"), is_required: false, is_legacy: true });
        }
        files
    }

    /// Returns registries.conf and the directories of its drop-in files, in the order in which they are read. A later
    /// file replaces what an earlier one says.
    #[must_use]
    pub fn registries_conf(&self) -> (PathBuf, Vec<PathBuf>) {
        if let Some(only) = given(&self.registries_conf) {
            return (only.to_owned(), Vec::new());
        }
        let system = self.system("etc/containers/registries.conf");
        let mut dirs = vec![self.system("etc/containers/registries.conf.d")];
        let Some(user) = self.user_config().map(|dir| dir.join("containers")) else { return (system, dirs) };
        dirs.push(user.join("registries.conf.d"));
        let own = user.join("registries.conf");
        (if own.exists() { own } else { system }, dirs)
    }

    /// Returns the directories that have certificates by host; the first one that has the host is used.
    #[must_use]
    pub fn certificate_dirs(&self) -> Vec<PathBuf> {
        let user = self.user_config().map(|dir| dir.join("containers/certs.d"));
        let system = ["etc/containers/certs.d", "etc/docker/certs.d"].map(|path| self.system(path));
        user.into_iter().chain(system).collect()
    }

    /// Returns the files that may hold the signature policy; the first one that exists is used.
    #[must_use]
    pub fn policy_files(&self) -> Vec<PathBuf> {
        let user = self.user_config().map(|dir| dir.join("containers/policy.json"));
        user.into_iter().chain([self.system("etc/containers/policy.json")]).collect()
    }

    /// Returns the files that may describe the system's store of images; the first one that exists is used.
    #[must_use]
    pub fn system_storage_files(&self) -> Vec<PathBuf> {
        ["etc/containers/storage.conf", "usr/share/containers/storage.conf"].map(|path| self.system(path)).into()
    }

    /// Returns the file that may describe the user's store of images.
    #[must_use]
    pub fn user_storage_file(&self) -> Option<PathBuf> {
        self.user_config().map(|dir| dir.join("containers/storage.conf"))
    }

    /// Returns the files that may hold the system's certificate authorities; the first one that exists is used.
    #[must_use]
    pub fn authority_files(&self) -> Vec<PathBuf> {
        let paths = [
            "etc/ssl/certs/ca-certificates.crt",
            "etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
            "etc/pki/tls/certs/ca-bundle.crt",
            "etc/ssl/ca-bundle.pem",
            "etc/ssl/cert.pem",
        ];
        paths.map(|path| self.system(path)).into()
    }

    /// Returns the user's directory of configuration.
    fn user_config(&self) -> Option<PathBuf> {
        let home = || given(&self.home).map(|home| home.join(".config"));
        given(&self.config_home).map(Path::to_owned).or_else(home)
    }

    fn system(&self, path: &str) -> PathBuf {
        self.root.as_deref().unwrap_or(Path::new("/")).join(path)
    }
}

/// A file with credentials, by its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Whether a missing file is an error, because the user named it.
    pub is_required: bool,
    /// Whether the file has the old form, in which the hosts are the top level.
    pub is_legacy: bool,
}

/// The path, unless it is empty.
fn given(path: &Option<PathBuf>) -> Option<&Path> {
    path.as_deref().filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(locations: &Locations) -> Vec<String> {
        locations.auth_files().iter().map(|file| file.path.display().to_string()).collect()
    }

    #[test]
    fn auth_files_in_their_order() {
        let home = Some(PathBuf::from("/h"));
        let mut locations = Locations { home, uid: 7, ..Locations::default() };
        let by_home = ["/h/.config/containers/auth.json", "/h/.docker/config.json", "/h/.dockercfg"];
        assert_eq!(paths(&locations)[0], "/run/containers/7/auth.json");
        assert_eq!(paths(&locations)[1..], by_home);
        locations.runtime_dir = Some("/r".into());
        locations.config_home = Some("/c".into());
        locations.docker_config = Some("/d".into());
        locations.registry_auth_file = Some("".into());
        let by_variables = ["/r/containers/auth.json", "/c/containers/auth.json", "/d/config.json", "/h/.dockercfg"];
        assert_eq!(paths(&locations), by_variables);
        locations.with_ostree = true;
        locations.root = Some("/root".into());
        assert_eq!(paths(&locations)[..2], ["/root/etc/ostree/auth.json", "/root/run/ostree/auth.json"]);
        locations.registry_auth_file = Some("/e".into());
        assert_eq!(paths(&locations), ["/e"]);
        locations.auth_file = Some("/o".into());
        assert_eq!(paths(&locations), ["/o"]);
    }

    #[test]
    fn the_users_registries_conf_replaces_the_systems() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut locations = Locations { config_home: Some(dir.path().into()), ..Locations::default() };
        assert_eq!(locations.registries_conf().0, Path::new("/etc/containers/registries.conf"));
        std::fs::create_dir(dir.path().join("containers")).expect("a directory");
        std::fs::write(dir.path().join("containers/registries.conf"), "").expect("a file");
        let (file, dirs) = locations.registries_conf();
        assert_eq!(file, dir.path().join("containers/registries.conf"));
        assert_eq!(dirs.len(), 2);
        locations.registries_conf = Some("/only".into());
        assert_eq!(locations.registries_conf(), ("/only".into(), Vec::new()));
    }
}
