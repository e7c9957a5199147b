//! The servers of remotes, by their URLs.

use reqwest::Url;

use super::S3Environment;
use crate::exchange::server_of;
use crate::reference::Reference;

/// Returns the server of a remote, with its port if the URL has one, as [`TlsVerify::InsecureHosts`] lists it; for
/// `s3://` that of the endpoint, which is given apart. `None` if it has no server that is reached by HTTP.
///
/// [`TlsVerify::InsecureHosts`]: crate::TlsVerify::InsecureHosts
#[must_use]
pub fn server_name(url: &str, environment: &S3Environment) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    match scheme.to_ascii_lowercase().as_str() {
        "https" | "http" => server_of(&Url::parse(url).ok()?),
        "oci" => Some(rest.trim_end_matches('/').parse::<Reference>().ok()?.host().to_owned()),
        "s3" => server_of(&Url::parse(&environment.endpoint()?).ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_their_ports() {
        let environment = S3Environment { endpoint: Some("http://store.example:9000/x".into()), ..Default::default() };
        let name = |url: &str| server_name(url, &environment);
        for (url, expected) in [
            ("https://user@images.example.org/a", Some("images.example.org")),
            ("http://127.0.0.1:8080/", Some("127.0.0.1:8080")),
            ("oci://registry.example:5000/some/images", Some("registry.example:5000")),
            ("s3://bucket/images", Some("store.example:9000")),
            ("ssh://host/srv", None),
            ("/srv/images", None),
        ] {
            assert_eq!(name(url).as_deref(), expected, "{url}");
        }
        assert_eq!(server_name("s3://bucket", &S3Environment::default()), None);
    }
}
