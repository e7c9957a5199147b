//! Registries that are slow, busy or not there, and proxies.

use std::io::Read as _;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use libcomposefs_remote::{
    ClientOptions, ErrorKind, Proxies, RegistryClient, RegistryDigest, RemoteRepository, TlsVerify, TransferProgress,
};

use crate::fake::{Fake, Reply};
use crate::{endpoint, options, repository};

/// Keeps the pauses before retries.
#[derive(Default)]
struct Pauses(Mutex<Vec<Duration>>);

impl TransferProgress for Pauses {
    fn retrying(&self, _reason: &str, pause: Duration) {
        self.0.lock().expect("no panic").push(pause);
    }
}

impl Pauses {
    fn all(&self) -> Vec<Duration> {
        self.0.lock().expect("no panic").clone()
    }
}

fn with_pauses(options: ClientOptions, host: &str) -> (RemoteRepository, Arc<Pauses>) {
    let pauses = Arc::new(Pauses::default());
    let client = RegistryClient::with_progress(options, Arc::<Pauses>::clone(&pauses)).expect("a client");
    (client.repository(&endpoint(host, "image")).expect("a repository"), pauses)
}

/// A server that answers a number of times with a status and `Retry-After`, then with a blob.
fn busy(times: usize, status: u16, after: &'static str) -> Fake {
    let left = Mutex::new(times);
    Fake::start(move |_| {
        let mut left = left.lock().expect("no panic");
        if *left == 0 {
            return Reply::new(200).body("abc");
        }
        *left -= 1;
        let text = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
        let reply = Reply::new(status).body(text);
        if after.is_empty() { reply } else { reply.header("Retry-After", after) }
    })
}

#[test]
fn a_busy_registry_is_asked_again_when_it_says() {
    let digest = RegistryDigest::of(b"abc");
    let fake = busy(1, 429, "1");
    let (repository, pauses) = with_pauses(options(), &fake.host());
    assert!(repository.blob(&digest, 3, 0).is_ok());
    assert_eq!(pauses.all(), [Duration::from_secs(1)]);
    let fake = busy(3, 503, "");
    let (repository, pauses) = with_pauses(options(), &fake.host());
    assert!(repository.blob(&digest, 3, 0).is_ok());
    assert_eq!(pauses.all().len(), 3);
}

#[test]
fn there_is_an_end_of_waiting() {
    let digest = RegistryDigest::of(b"abc");
    let fake = busy(1, 429, "100000");
    let (repository, pauses) = with_pauses(options(), &fake.host());
    let error = repository.blob(&digest, 3, 0).expect_err("a long pause");
    assert!(matches!(error.kind(), ErrorKind::MustWait { seconds: 100_000, limit: 300, .. }), "{error}");
    assert!(error.to_string().contains("TOOMANYREQUESTS: slow down"), "{error}");
    assert_eq!(pauses.all(), []);
    let fake = busy(100, 503, "");
    let (repository, pauses) = with_pauses(options(), &fake.host());
    let error = repository.manifest("one").expect_err("busy");
    assert_eq!((error.status(), pauses.all().len(), fake.seen().len()), (Some(503), 5, 6), "{error}");
}

/// A server that accepts connections, sends `text` and then nothing.
fn silent(text: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let mut open = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or(0);
            let is_http = request[..length].starts_with(b"GET /v2/image");
            let _ = std::io::Write::write_all(&mut stream, if is_http { text } else { PROBED }.as_bytes());
            // The probe is answered completely; other connections stay open.
            if is_http {
                open.push(stream);
            }
        }
    });
    port
}

const PROBED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A server that sends the head of an answer and then a byte every 20 ms.
fn dripping() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let is_http = request[..length].starts_with(b"GET /v2/image");
                let text = if is_http { "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" } else { PROBED };
                // It ends when the client closes the connection.
                let mut left = std::io::Write::write_all(&mut stream, text.as_bytes()).is_ok() && is_http;
                while left {
                    thread::sleep(Duration::from_millis(20));
                    left = std::io::Write::write_all(&mut stream, b"a").is_ok();
                }
            });
        }
    });
    port
}

#[test]
fn a_byte_now_and_then_is_a_failure() {
    let mut options = options();
    options.idle_time = Duration::from_millis(200);
    options.retry.retries = 2;
    let (repository, pauses) = with_pauses(options, &format!("127.0.0.1:{}", dripping()));
    let mut reader = repository.blob(&RegistryDigest::of(b"abc"), 100_000, 0).expect("a head");
    let error = reader.read_to_end(&mut Vec::new()).expect_err("a stall");
    assert!(error.to_string().contains("the server sent only"), "{error}");
    assert_eq!(pauses.all().len(), 2);
}

#[test]
fn silence_is_a_failure() {
    let mut options = options();
    options.idle_time = Duration::from_millis(200);
    options.retry.retries = 2;
    let host = |text| format!("127.0.0.1:{}", silent(text));
    let (repository, pauses) = with_pauses(options.clone(), &host(""));
    let error = repository.blob(&RegistryDigest::of(b"abc"), 3, 0).expect_err("silence");
    assert!(error.to_string().contains("sent nothing for 0.2 s"), "{error}");
    assert_eq!(pauses.all().len(), 2);
    let (repository, pauses) = with_pauses(options, &host("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"));
    let mut reader = repository.blob(&RegistryDigest::of(b"abc"), 3, 0).expect("a head");
    let error = reader.read_to_end(&mut Vec::new()).expect_err("silence");
    assert!(error.to_string().contains("after 2 retries"), "{error}");
    assert_eq!(pauses.all().len(), 2);
}

#[test]
fn a_registry_that_never_answered_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let (repository, pauses) = with_pauses(options(), &host);
    let error = repository.manifest("one").expect_err("no server");
    assert!(matches!(error.kind(), ErrorKind::Connect { .. }), "{error}");
    assert!(error.to_string().contains("proxy settings") && error.host() == host, "{error}");
    assert_eq!(pauses.all(), []);
}

#[test]
fn proxies_are_used_except_for_loopback_and_exceptions() {
    let proxy = Fake::start(|seen| match seen.method.as_str() {
        // There is no TLS to be reached by it.
        "CONNECT" => Reply::new(502).body(""),
        _ if seen.path.ends_with("/tags/list?n=1000") => Reply::new(200).body(r#"{"tags":["by-proxy"]}"#),
        _ => Reply::new(200).body("{}"),
    });
    let url = Some(format!("http://user:password@{}", proxy.host()));
    let no_proxy = Some("other.example,.domain.example".to_owned());
    let proxies = Proxies { https: url.clone(), http: url, no_proxy };
    // The names do not exist: only the proxy can answer for them.
    let names = ["registry.example:5000", "other.example", "a.domain.example"].map(str::to_owned).to_vec();
    let options = ClientOptions { proxies, tls_verify: TlsVerify::InsecureHosts(names), ..options() };
    assert_eq!(repository(&options, "registry.example:5000", "image").tags().expect("a list"), ["by-proxy"]);
    let seen = proxy.seen();
    let connect = seen.iter().find(|seen| seen.method == "CONNECT").expect("TLS was tried");
    assert_eq!(connect.path, "registry.example:5000");
    assert!(connect.header("proxy-authorization").is_some_and(|value| value.starts_with("Basic ")));
    let direct = Fake::start(|_| Reply::new(200).body(r#"{"tags":["direct"]}"#));
    assert_eq!(repository(&options, &direct.host(), "image").tags().expect("a list"), ["direct"]);
    assert_eq!(proxy.seen().len(), seen.len());
    // A host that is neither insecure nor a loopback address is never asked without TLS.
    let error = repository(&options, "third.example", "image").tags().expect_err("no TLS");
    assert!(matches!(error.kind(), ErrorKind::Connect { .. }), "{error}");
    let third: Vec<_> = proxy.seen().into_iter().filter(|seen| seen.path.contains("third.example")).collect();
    assert!(!third.is_empty() && third.iter().all(|seen| seen.method == "CONNECT"), "{third:?}");
    let bad = Proxies { https: Some("::".to_owned()), ..Proxies::default() };
    let client = RegistryClient::new(ClientOptions { proxies: bad, ..options }).expect("a client");
    let error = client.repository(&endpoint("other.example", "image")).expect_err("no URL");
    assert!(error.to_string().contains("proxy"), "{error}");
}
