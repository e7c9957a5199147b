//! Finds the endpoint, the region and the credentials for S3 in the usual places of AWS.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The longest configuration file.
const LONGEST: u64 = 1 << 20;
/// The region if nothing says one.
const DEFAULT_REGION: &str = "us-east-1";

/// Values of the environment that decide how S3 is accessed. The crate reads no environment: a program fills this in.
/// An empty value counts as missing.
#[derive(Clone, Default)]
pub struct S3Environment {
    /// Value of `AWS_ACCESS_KEY_ID`.
    pub access_key: Option<String>,
    /// Value of `AWS_SECRET_ACCESS_KEY`.
    pub secret_key: Option<String>,
    /// Value of `AWS_SESSION_TOKEN`.
    pub session_token: Option<String>,
    /// Value of `AWS_REGION`, otherwise `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// Value of `AWS_ENDPOINT_URL_S3`, otherwise `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// Value of `AWS_PROFILE`, otherwise `AWS_DEFAULT_PROFILE`.
    pub profile: Option<String>,
    /// Value of `AWS_SHARED_CREDENTIALS_FILE`; otherwise `~/.aws/credentials`.
    pub credentials_file: Option<PathBuf>,
    /// Value of `AWS_CONFIG_FILE`; otherwise `~/.aws/config`.
    pub config_file: Option<PathBuf>,
}

impl std::fmt::Debug for S3Environment {
    /// Prints no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Environment").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// What was found.
#[derive(Clone)]
pub(super) struct S3Settings {
    /// Key, secret and token. Without them, requests are not signed.
    pub(super) credentials: Option<(String, String, Option<String>)>,
    pub(super) region: String,
    /// URL of the endpoint, if it is not that of AWS.
    pub(super) endpoint: Option<String>,
    /// Where the credentials are from, or where they were looked for.
    pub(super) searched: String,
}

/// Sections of a file, with their values by name.
type Sections = HashMap<String, HashMap<String, String>>;

impl S3Environment {
    /// Returns the URL of the endpoint; `None` if it is that of AWS, or the settings cannot be used.
    pub(in crate::stores) fn endpoint(&self) -> Option<String> {
        self.settings().ok()?.endpoint
    }

    /// Reads the files that there are.
    pub(super) fn settings(&self) -> Result<S3Settings, String> {
        let profile = given(&self.profile).unwrap_or("default");
        let credentials_file = read(self.credentials_file.as_deref())?;
        let config_file = read(self.config_file.as_deref())?;
        let is_named = given(&self.profile).is_some();
        let config_name = if profile == "default" { "default".to_owned() } else { format!("profile {profile}") };
        let (secrets, config) = (credentials_file.get(profile), config_file.get(&config_name));
        if is_named && secrets.is_none() && config.is_none() {
            return Err(format!("the profile {profile:?} (AWS_PROFILE) is in neither of {}", self.files()));
        }
        let of_file = |name: &str| {
            let value = secrets.and_then(|section| section.get(name)).or_else(|| config.and_then(|c| c.get(name)));
            value.filter(|value| !value.is_empty()).cloned()
        };
        let owned = |value: &Option<String>| given(value).map(str::to_owned);
        let by_environment = owned(&self.access_key).zip(owned(&self.secret_key));
        // A profile that the user names goes before keys of the environment, as in the programs of AWS.
        let (credentials, searched) = match by_environment.filter(|_| !is_named) {
            Some((key, secret)) => {
                (Some((key, secret, owned(&self.session_token))), "AWS_ACCESS_KEY_ID of the environment".to_owned())
            }
            None => {
                let pair = of_file("aws_access_key_id").zip(of_file("aws_secret_access_key"));
                let found = pair.map(|(key, secret)| (key, secret, of_file("aws_session_token")));
                let place = if found.is_some() {
                    format!("the profile {profile} of {}", self.files())
                } else {
                    format!("AWS_ACCESS_KEY_ID of the environment, the profile {profile} of {}", self.files())
                };
                (found, place)
            }
        };
        let region = owned(&self.region).or_else(|| of_file("region")).unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let endpoint = owned(&self.endpoint).or_else(|| of_file("endpoint_url"));
        Ok(S3Settings { credentials, region, endpoint, searched })
    }

    fn files(&self) -> String {
        let paths: Vec<_> = [&self.credentials_file, &self.config_file]
            .into_iter()
            .flatten()
            .map(|path| path.display().to_string())
            .collect();
        if paths.is_empty() { "no file".to_owned() } else { paths.join(", ") }
    }
}

fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

/// Reads a file; one that does not exist has no sections.
fn read(path: Option<&Path>) -> Result<Sections, String> {
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else { return Ok(Sections::new()) };
    let mut text = Vec::new();
    let result = File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut text));
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Sections::new()),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        Ok(_) => Ok(parse(&String::from_utf8_lossy(&text))),
    }
}

/// Parses `[SECTION]` and `NAME = VALUE`. Indented lines belong to a value with several, which is passed over.
fn parse(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) || line.starts_with([' ', '\t']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|name| name.split(']').next()) {
            let name: Vec<_> = name.split_whitespace().collect();
            current = Some(name.join(" "));
            continue;
        }
        let (Some(section), Some((name, value))) = (&current, trimmed.split_once('=')) else { continue };
        let section = sections.entry(section.clone()).or_default();
        section.insert(name.trim().to_lowercase(), value.trim().to_owned());
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(dir: &Path) -> S3Environment {
        let credentials = "[default]\naws_access_key_id = K\naws_secret_access_key=S\n\n# x\n[ other ]\n\
                           aws_access_key_id=OK\naws_secret_access_key=OS\naws_session_token=OT\n";
        let config = "[default]\nregion = r-1\n[profile other]\nregion=r-2\ns3 =\n  endpoint_url = no\n\
                      endpoint_url = http://127.0.0.1:1\n";
        std::fs::write(dir.join("credentials"), credentials).expect("a file");
        std::fs::write(dir.join("config"), config).expect("a file");
        S3Environment {
            credentials_file: Some(dir.join("credentials")),
            config_file: Some(dir.join("config")),
            ..S3Environment::default()
        }
    }

    #[test]
    fn the_environment_goes_before_the_default_profile() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut environment = environment(dir.path());
        let settings = environment.settings().expect("settings");
        assert_eq!(settings.credentials, Some(("K".to_owned(), "S".to_owned(), None)));
        assert_eq!((settings.region.as_str(), settings.endpoint), ("r-1", None));
        environment.access_key = Some("E".to_owned());
        environment.secret_key = Some("F".to_owned());
        environment.region = Some("r-3".to_owned());
        let settings = environment.settings().expect("settings");
        assert_eq!(settings.credentials, Some(("E".to_owned(), "F".to_owned(), None)));
        assert_eq!(settings.region, "r-3");
    }

    #[test]
    fn a_named_profile_goes_before_the_environment() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut environment = S3Environment { access_key: Some("E".to_owned()), ..environment(dir.path()) };
        environment.profile = Some("other".to_owned());
        let settings = environment.settings().expect("settings");
        assert_eq!(settings.credentials, Some(("OK".to_owned(), "OS".to_owned(), Some("OT".to_owned()))));
        assert_eq!(settings.endpoint.as_deref(), Some("http://127.0.0.1:1"));
        environment.profile = Some("third".to_owned());
        assert!(environment.settings().is_err_and(|error| error.contains("third")));
    }

    #[test]
    fn nothing_is_needed() {
        let settings = S3Environment::default().settings().expect("settings");
        assert_eq!((settings.credentials, settings.region.as_str()), (None, DEFAULT_REGION));
        assert!(settings.searched.contains("AWS_ACCESS_KEY_ID"));
    }
}
