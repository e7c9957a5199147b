//! A remote on a web server: any that serves files, with or without ranges. It is read only.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use libcomposefs_delivery::{
    Abilities, CompareAndSwap, CreateOutcome, ExpectedFile, FileKind, FileName, ListedFile, NewContent, RangeAnswer,
    RangeSink, ReadFile, RefReplacement, RemoteError, RemoteStore,
};
use reqwest::{Method, Url};

use super::failure::{AccessStep, Dialect, FoundFile};
use super::http_files::{HttpFiles, get, request};
use super::netrc::{self, Login};
use crate::exchange::{Exchange, ServerTarget, is_loopback, server_of};
use crate::options::ClientOptions;
use crate::progress::NoTransferProgress;
use crate::token::basic;

/// Why a web server cannot be written.
const READ_ONLY: &str = "a web server is read only; remotes that can be written are a directory (./DIR), \
                         s3://BUCKET/PREFIX, oci://HOST/REPOSITORY and ssh://HOST/PATH: push to one of these, and let \
                         the web server serve its files";

/// A remote on a web server.
#[derive(Debug)]
pub struct WebStore {
    files: HttpFiles,
    base: Url,
}

impl WebStore {
    /// Opens a remote at an `https` or `http` URL. No request is sent. Credentials are those of the URL, otherwise
    /// those of the first of the `netrc` files that has the host.
    ///
    /// # Errors
    ///
    /// If the URL is not valid, or has plain HTTP although the host is neither a loopback address nor insecure by the
    /// options.
    pub fn open(url: &str, options: ClientOptions, netrc: &[PathBuf]) -> Result<Self, RemoteError> {
        let refuse = |location: &str, reason: String| RemoteError::new(location, "open", reason);
        let mut base = Url::parse(url).map_err(|error| refuse("URL", format!("the URL is not valid: {error}")))?;
        let login = take_login(&mut base);
        base.set_fragment(None);
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let location = location(&base);
        let (Some(host), Some(server)) = (base.host_str().map(str::to_owned), server_of(&base)) else {
            return Err(refuse(&location, "the URL has no host".to_owned()));
        };
        let is_insecure = options.tls_verify.is_insecure(&server);
        if base.scheme() != "https" && !(is_loopback(&base) || is_insecure) {
            let reason = "plain HTTP is for loopback addresses: others may read and change what is sent".to_owned();
            let remedy = "use https://";
            return Err(refuse(&location, reason).remedy(remedy));
        }
        let user = login.as_ref().map(|login| login.user.as_str());
        let has_password = login.as_ref().is_some_and(|login| !login.password.is_empty());
        let found = if has_password { None } else { netrc.iter().find_map(|path| netrc::find(path, &host, user)) };
        let login = found.or(login);
        let authorization = login.as_ref().and_then(|login| basic(&login.user, &login.password));
        let paths: Vec<_> = netrc.iter().map(|path| path.display().to_string()).collect();
        let searched = if has_password { "the URL".to_owned() } else { paths.join(", ") };
        let dialect = Dialect::Web { had_credentials: login.is_some(), searched };
        let exchange = Exchange::new(options, Arc::new(NoTransferProgress));
        let exchange = Arc::new(exchange.map_err(|kind| refuse(&location, kind.to_string()))?);
        let target = ServerTarget { base: base.clone(), authorization, is_insecure };
        Ok(Self { files: HttpFiles { exchange, target, location, dialect }, base })
    }

    /// Returns the URL of a file. A query of the remote's URL stays.
    fn url(&self, name: &FileName) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(name.path().split('/'));
        }
        url
    }

    fn read_only(&self, verb: &'static str, name: Option<&FileName>) -> RemoteError {
        let step = AccessStep { location: &self.files.location, dialect: &self.files.dialect, verb, name };
        step.error(READ_ONLY)
    }
}

/// Removes user and password from a URL.
fn take_login(url: &mut Url) -> Option<Login> {
    let decoded = |text: &str| percent_decoded(text);
    let login = Login { user: decoded(url.username()), password: decoded(url.password().unwrap_or_default()) };
    let _ = (url.set_username(""), url.set_password(None));
    (!login.user.is_empty()).then_some(login)
}

/// Decodes `%XX`; other text stays.
pub(super) fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Returns the URL for messages: without a query, which may be a secret.
fn location(base: &Url) -> String {
    let mut shown = base.clone();
    shown.set_query(None);
    shown.to_string()
}

impl RemoteStore for WebStore {
    fn location(&self) -> &str {
        &self.files.location
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            read_only: Some(READ_ONLY.to_owned()),
            no_gc: Some(READ_ONLY.to_owned()),
            compare_and_swap: CompareAndSwap::ReadAgain,
            is_near: false,
        }
    }

    fn read(&self, name: &FileName, limit: u64) -> FoundFile<ReadFile> {
        self.files.read(name, self.url(name), limit)
    }

    fn read_range(&self, name: &FileName, range: Range<u64>, sink: &mut dyn RangeSink) -> FoundFile<RangeAnswer> {
        self.files.read_range(name, get(self.url(name)), range, sink)
    }

    fn length(&self, name: &FileName) -> FoundFile<u64> {
        let head = request(Method::HEAD, self.url(name));
        match self.files.length(name, head) {
            // The server may have no HEAD, or say no length.
            Err(error) if error.persistence() == libcomposefs_delivery::Persistence::Permanent => {
                self.files.length_by_range(name, get(self.url(name)))
            }
            other => other,
        }
    }

    fn create(&self, name: &FileName, _content: &mut dyn NewContent) -> Result<CreateOutcome, RemoteError> {
        Err(self.read_only("write", Some(name)))
    }

    fn replace(&self, name: &FileName, _: &[u8], _: &ExpectedFile) -> Result<RefReplacement, RemoteError> {
        Err(self.read_only("write", Some(name)))
    }

    fn list(&self, _kind: FileKind) -> Result<Vec<ListedFile>, RemoteError> {
        Err(self.read_only("list the files of", None))
    }

    fn delete(&self, name: &FileName) -> Result<(), RemoteError> {
        Err(self.read_only("remove", Some(name)))
    }
}

#[cfg(test)]
mod tests {
    use libcomposefs_repo::RefName;

    use super::*;

    fn open(url: &str) -> Result<WebStore, RemoteError> {
        WebStore::open(url, ClientOptions::default(), &[])
    }

    #[test]
    fn urls_of_files() {
        let store = open("https://u:p%40@a.x/base?key=secret#f").expect("a store");
        assert_eq!(store.location(), "https://a.x/base/");
        let name = FileName::Ref(RefName::new("a b/\u{e4}?#%2f").expect("a name"));
        assert_eq!(store.url(&name).as_str(), "https://a.x/base/refs/a%20b/%C3%A4%3F%23%252f?key=secret");
        assert!(!format!("{store:?}").contains("p@"), "no password in debug output");
    }

    #[test]
    fn plain_http_is_for_loopback_addresses() {
        for url in ["http://127.0.0.1:1/", "http://localhost/x", "https://a.x", "http://[::1]/"] {
            assert!(open(url).is_ok(), "{url}");
        }
        let message = open("http://u:geheim@a.x/").expect_err("plain").to_string();
        assert!(message.contains("use https://") && !message.contains("geheim"), "{message}");
        assert!(open("https://").is_err());
    }

    #[test]
    fn percent_is_decoded() {
        assert_eq!(percent_decoded("a%40b%zz%+f%4"), "a@b%zz%+f%4");
    }
}
