//! A remote in a bucket of S3, or of a server with the same protocol.
//!
//! Requests are signed in their URLs. The server decides whether a file is new (`If-None-Match: *`) and whether a ref
//! is the one that was read (`If-Match`).

mod config;
mod listing;
mod refusal;
mod upload;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use libcomposefs_delivery::{
    Abilities, CompareAndSwap, CreateOutcome, ExpectedFile, FileKind, FileName, ListedFile, NewContent, RangeAnswer,
    RangeSink, ReadFile, RefReplacement, RemoteError, RemoteStore,
};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, StatusCode, Url};
use rusty_s3::actions::{DeleteObject, GetObject, HeadObject, ListObjectsV2, PutObject, S3Action};
use rusty_s3::{Bucket, Credentials, UrlStyle};

pub use config::S3Environment;
use config::S3Settings;
pub(crate) use refusal::S3Refusal;

use super::failure::{AccessStep, Dialect, FoundFile};
use super::http_files::{HttpFiles, get, request, version};
use crate::error::ErrorKind;
use crate::exchange::{Exchange, ServerTarget, is_loopback, read_limited, server_of};
use crate::options::ClientOptions;
use crate::progress::NoTransferProgress;
use crate::transport::{Answer, HttpRequest};

/// How long a signature is valid. The clocks of client and server may differ by some minutes.
const VALIDITY: Duration = Duration::from_secs(3600);
/// The longest page of a list: a thousand keys.
const LONGEST_PAGE: u64 = 8 << 20;
/// The most pages of a list.
const MOST_PAGES: usize = 10_000;

/// A remote in a bucket.
pub struct S3Store {
    files: HttpFiles,
    bucket: Bucket,
    credentials: Option<Credentials>,
    /// Prefix of all keys: empty, or with a slash at the end.
    prefix: String,
}

impl S3Store {
    /// Opens a remote at `s3://BUCKET/PREFIX`. No request is sent.
    ///
    /// # Errors
    ///
    /// If the URL, the endpoint or a configuration file is not valid, or if a profile does not exist.
    pub fn open(url: &str, options: ClientOptions, environment: &S3Environment) -> Result<Self, RemoteError> {
        let refuse = |reason: String| RemoteError::new(url, "open", reason);
        let (bucket, prefix) = url
            .strip_prefix("s3://")
            .map(|rest| rest.split_once('/').unwrap_or((rest, "")))
            .filter(|(bucket, _)| is_bucket(bucket))
            .ok_or_else(|| refuse("the URL is not s3://BUCKET or s3://BUCKET/PREFIX".to_owned()))?;
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let settings = environment.settings().map_err(refuse)?;
        let S3Settings { credentials, region, endpoint, searched } = settings;
        // A certificate of the endpoint does not cover a host with more dots.
        let is_path = endpoint.is_some() || bucket.contains('.');
        let style = if is_path { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let wrong = |error: String| refuse(format!("the endpoint {endpoint:?} is not valid: {error}"));
        let endpoint_url = Url::parse(&endpoint).map_err(|error| wrong(error.to_string()))?;
        let server = server_of(&endpoint_url).unwrap_or_default();
        let is_insecure = options.tls_verify.is_insecure(&server);
        if endpoint_url.scheme() != "https" && !(is_loopback(&endpoint_url) || is_insecure) {
            let reason = format!("plain HTTP is for loopback addresses, and the endpoint is {endpoint}");
            return Err(refuse(reason).remedy("use an https:// endpoint"));
        }
        let bucket = Bucket::new(endpoint_url.clone(), style, bucket.to_owned(), region);
        let bucket = bucket.map_err(|error| wrong(error.to_string()))?;
        let dialect = Dialect::S3 { had_credentials: credentials.is_some(), searched };
        let exchange = Exchange::new(options, Arc::new(NoTransferProgress));
        let exchange = Arc::new(exchange.map_err(|kind| refuse(kind.to_string()))?);
        let credentials = credentials.map(|(key, secret, token)| match token {
            Some(token) => Credentials::new_with_token(key, secret, token),
            None => Credentials::new(key, secret),
        });
        let target = ServerTarget { base: bucket.base_url().clone(), authorization: None, is_insecure };
        let location = format!("s3://{}/{prefix}", bucket.name());
        Ok(Self { files: HttpFiles { exchange, target, location, dialect }, bucket, credentials, prefix })
    }

    fn key(&self, name: &FileName) -> String {
        format!("{}{}", self.prefix, name.path())
    }

    fn get_url(&self, name: &FileName) -> Url {
        GetObject::new(&self.bucket, self.credentials.as_ref(), &self.key(name)).sign(VALIDITY)
    }

    /// Writes an object under a condition. `false` if the condition does not hold.
    fn put(
        &self,
        verb: &'static str,
        name: &FileName,
        body: Bytes,
        condition: (HeaderName, HeaderValue),
    ) -> Result<Option<Answer>, RemoteError> {
        let key = self.key(name);
        let url = PutObject::new(&self.bucket, self.credentials.as_ref(), &key).sign(VALIDITY);
        let mut request = HttpRequest { body, ..request(Method::PUT, url) };
        // Some servers store a body of unknown type as a form.
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        request.headers.insert(condition.0, condition.1);
        let step = self.files.step(verb, name);
        let answer = self.files.ask(&step, request)?;
        match answer.status {
            status if status.is_success() => Ok(Some(answer)),
            // Another request for the same key is under way.
            StatusCode::CONFLICT => Err(step.refused(answer).temporary(None)),
            StatusCode::PRECONDITION_FAILED => Ok(None),
            // `If-Match` without an object.
            StatusCode::NOT_FOUND => step.missing(answer),
            _ => Err(step.refused(answer)),
        }
    }

    /// Describes a list, for its errors: it is of no single file.
    fn list_step(&self) -> AccessStep<'_> {
        AccessStep {
            location: &self.files.location,
            dialect: &self.files.dialect,
            verb: "list the files of",
            name: None,
        }
    }

    fn list_page(&self, kind: FileKind, token: Option<&str>) -> Result<listing::ListedPage, RemoteError> {
        let step = self.list_step();
        let mut list = ListObjectsV2::new(&self.bucket, self.credentials.as_ref());
        list.with_prefix(format!("{}{}/", self.prefix, kind.directory()));
        if let Some(token) = token {
            list.with_continuation_token(token);
        }
        let answer = self.files.ask(&step, get(list.sign(VALIDITY)))?;
        if !answer.status.is_success() {
            return Err(step.refused(answer));
        }
        let text = read_limited(answer.body, LONGEST_PAGE).map_err(|trouble| step.failed(trouble.into_kind()))?;
        listing::parse(&String::from_utf8_lossy(&text))
            .map_err(|reason| step.failed(ErrorKind::Protocol { reason: reason.to_owned() }))
    }
}

/// Reports whether a text can be the name of a bucket.
fn is_bucket(text: &str) -> bool {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (1..=255).contains(&text.len()) && text.chars().all(is_valid) && !text.starts_with('.')
}

impl std::fmt::Debug for S3Store {
    /// Prints no secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Store").field("location", &self.files.location).finish_non_exhaustive()
    }
}

impl RemoteStore for S3Store {
    fn location(&self) -> &str {
        &self.files.location
    }

    fn abilities(&self) -> Abilities {
        let compare_and_swap = CompareAndSwap::Exact;
        Abilities { read_only: None, no_gc: None, compare_and_swap, is_near: false }
    }

    fn read(&self, name: &FileName, limit: u64) -> FoundFile<ReadFile> {
        self.files.read(name, self.get_url(name), limit)
    }

    fn read_range(&self, name: &FileName, range: Range<u64>, sink: &mut dyn RangeSink) -> FoundFile<RangeAnswer> {
        self.files.read_range(name, get(self.get_url(name)), range, sink)
    }

    fn length(&self, name: &FileName) -> FoundFile<u64> {
        let url = HeadObject::new(&self.bucket, self.credentials.as_ref(), &self.key(name)).sign(VALIDITY);
        self.files.length(name, request(Method::HEAD, url))
    }

    fn create(&self, name: &FileName, content: &mut dyn NewContent) -> Result<CreateOutcome, RemoteError> {
        self.upload(name, content)
    }

    fn replace(&self, name: &FileName, bytes: &[u8], expected: &ExpectedFile) -> Result<RefReplacement, RemoteError> {
        let condition = match expected {
            ExpectedFile::Absent => (IF_NONE_MATCH, HeaderValue::from_static("*")),
            ExpectedFile::Version(version) => {
                let value = HeaderValue::from_str(&version.0);
                let invalid = |_| self.files.step("replace", name).error("the version is not valid as a header");
                (IF_MATCH, value.map_err(invalid)?)
            }
        };
        match self.put("replace", name, Bytes::copy_from_slice(bytes), condition)? {
            Some(answer) => Ok(RefReplacement::Done(version(&answer.headers))),
            None => Ok(RefReplacement::Changed),
        }
    }

    fn list(&self, kind: FileKind) -> Result<Vec<ListedFile>, RemoteError> {
        let mut files = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let page = self.list_page(kind, token.as_deref())?;
            let named = page.keys.into_iter().filter_map(|key| {
                let name = FileName::from_path(key.key.strip_prefix(&self.prefix)?)?;
                Some(ListedFile { name, length: key.size, modified: key.modified })
            });
            files.extend(named);
            match page.next {
                None => return Ok(files),
                // A server that repeats itself would list for ever.
                next if next == token => break,
                next => token = next,
            }
        }
        Err(self.list_step().error("the list does not end"))
    }

    fn delete(&self, name: &FileName) -> Result<(), RemoteError> {
        let step = self.files.step("remove", name);
        let url = DeleteObject::new(&self.bucket, self.credentials.as_ref(), &self.key(name)).sign(VALIDITY);
        let answer = self.files.ask(&step, request(Method::DELETE, url))?;
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND => step.missing::<()>(answer).map(drop),
            _ => Err(step.refused(answer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_buckets() {
        let open = |url: &str, endpoint: Option<&str>| {
            let environment = S3Environment { endpoint: endpoint.map(str::to_owned), ..S3Environment::default() };
            S3Store::open(url, ClientOptions::default(), &environment)
        };
        let store = open("s3://bucket/a/b//", None).expect("a store");
        assert_eq!(store.location(), "s3://bucket/a/b/");
        let url = store.get_url(&FileName::Version);
        assert_eq!(url.as_str(), "https://bucket.s3.us-east-1.amazonaws.com/a/b/composefs-remote.json");
        let store = open("s3://bucket", Some("http://127.0.0.1:9/x")).expect("a store");
        assert_eq!(store.get_url(&FileName::Version).as_str(), "http://127.0.0.1:9/x/bucket/composefs-remote.json");
        for url in ["s3://", "s3:///x", "s3://a b/", "s3://a@b/", "http://a"] {
            assert!(open(url, None).is_err(), "{url}");
        }
        for endpoint in ["http://10.0.0.1/", "ftp://a/", "x"] {
            assert!(open("s3://b", Some(endpoint)).is_err(), "{endpoint}");
        }
    }
}
