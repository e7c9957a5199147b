//! Connections that are cut, between the client and a real registry.

use std::io::{Read, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use libcomposefs_remote::{
    ErrorKind, RangesAnswer, RegistryClient, RegistryDigest, RemoteRepository, TransferProgress,
};

use crate::real::{Registry, Setup};
use crate::{bytes, endpoint, options, repository};

/// The number of pieces of an upload that a connection passes on before it is cut.
const PIECES: usize = 2;

/// A proxy that cuts its connections after a number of bytes, or before a piece of an upload.
///
/// This registry cannot continue an upload that was cut within a piece: it refuses even to say how much it has.
struct CuttingProxy {
    port: u16,
    /// Bytes that a connection passes on before it is cut, in both directions.
    limit: Arc<AtomicU64>,
    connections: Arc<AtomicUsize>,
}

impl CuttingProxy {
    fn start(target: u16, limit: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (limit, connections) = (Arc::new(AtomicU64::new(limit)), Arc::<AtomicUsize>::default());
        let (left, count) = (Arc::clone(&limit), Arc::clone(&connections));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                let budget = Arc::new(AtomicU64::new(left.load(Ordering::SeqCst)));
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
                    let budget = Arc::clone(&budget);
                    thread::spawn(move || pass(from, to, &budget));
                }
            }
        });
        Self { port, limit, connections }
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, budget: &AtomicU64) {
    let mut buffer = [0; 4096];
    let mut pieces = 0;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        pieces += usize::from(buffer.starts_with(b"PATCH /v2/"));
        if pieces > PIECES {
            break;
        }
        let left = budget.load(Ordering::SeqCst);
        let passed = length.min(left as usize);
        budget.fetch_sub(passed as u64, Ordering::SeqCst);
        if to.write_all(&buffer[..passed]).is_err() || passed < length {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// A registry with one blob, and the proxy before it.
fn with_blob(name: &str, length: usize) -> Option<(Registry, CuttingProxy, Vec<u8>)> {
    let registry = Registry::start(name, &Setup::default())?;
    let content = bytes(length);
    let direct = repository(&options(), &registry.host(), "image");
    direct.upload_blob(&RegistryDigest::of(&content), length as u64, content.as_slice()).expect("an upload");
    let proxy = CuttingProxy::start(registry.port, u64::MAX);
    Some((registry, proxy, content))
}

/// Opens the repository through the proxy, whose connections pass on `limit` bytes.
fn through(proxy: &CuttingProxy, limit: u64) -> RemoteRepository {
    proxy.limit.store(limit, Ordering::SeqCst);
    let mut options = options();
    options.upload_piece = 200_000;
    options.retry.retries = 3;
    repository(&options, &proxy.host(), "image")
}

#[test]
fn a_blob_continues_where_it_was_cut() {
    let name = "cut_connections::a_blob_continues_where_it_was_cut";
    let Some((_registry, proxy, content)) = with_blob(name, 20_000_000) else { return };
    // More cuts than retries: each connection makes progress, so they are counted anew.
    let repository = through(&proxy, 2_500_000);
    let before = proxy.connections.load(Ordering::SeqCst);
    for from in [0, 3] {
        let digest = RegistryDigest::of(&content);
        let mut found = Vec::new();
        let mut reader = repository.blob(&digest, content.len() as u64, from).expect("the blob exists");
        reader.read_to_end(&mut found).unwrap_or_else(|error| panic!("{error}"));
        assert!(found == content[from as usize..]);
    }
    assert!(proxy.connections.load(Ordering::SeqCst) - before >= 16, "the connections were cut");
}

#[test]
fn retries_come_to_an_end_without_progress() {
    let name = "cut_connections::retries_come_to_an_end_without_progress";
    let Some((_registry, proxy, content)) = with_blob(name, 3_000_000) else { return };
    let repository = through(&proxy, 100_000);
    let digest = RegistryDigest::of(&content);
    let mut reader = repository.blob(&digest, content.len() as u64, 0).expect("the blob exists");
    let error = reader.read_to_end(&mut Vec::new()).expect_err("the connections are cut");
    let message = error.to_string();
    assert!(message.contains("after 3 retries") && message.contains(digest.as_str()), "{message}");
    assert!(reader.read(&mut [0]).is_err(), "a stream that failed does not continue");
    // The answer is cut in its head. The registry is known to exist, so it is asked again.
    proxy.limit.store(300, Ordering::SeqCst);
    let error = repository.blob(&digest, content.len() as u64, 0).expect_err("the connections are cut");
    assert!(matches!(error.kind(), ErrorKind::Transfer { retries: 3, .. }), "{error}");
}

#[test]
fn ranges_continue_where_they_were_cut() {
    let name = "cut_connections::ranges_continue_where_they_were_cut";
    let Some((_registry, proxy, content)) = with_blob(name, 4_000_000) else { return };
    let repository = through(&proxy, 400_000);
    let digest = RegistryDigest::of(&content);
    let ranges = [0..1_000_000, 1_500_000..1_500_001, 2_000_000..4_000_000];
    let mut found = vec![0; content.len()];
    let mut given = 0;
    let mut sink = |at: u64, bytes: &[u8]| {
        found[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        given += bytes.len();
        Ok(())
    };
    let answer = repository.ranges(&digest, content.len() as u64, &ranges, &mut sink);
    assert!(matches!(answer.unwrap_or_else(|error| panic!("{error}")), RangesAnswer::Done));
    assert_eq!(given, 3_000_001);
    for range in ranges {
        let range = range.start as usize..range.end as usize;
        assert!(found[range.clone()] == content[range]);
    }
}

/// Keeps the reasons of retries.
#[derive(Default)]
struct Reasons(Mutex<Vec<String>>);

impl TransferProgress for Reasons {
    fn retrying(&self, reason: &str, _pause: Duration) {
        self.0.lock().expect("no panic").push(reason.to_owned());
    }
}

#[test]
fn an_upload_continues_where_it_was_cut() {
    let name = "cut_connections::an_upload_continues_where_it_was_cut";
    let Some((registry, proxy, _)) = with_blob(name, 1) else { return };
    let reasons = Arc::new(Reasons::default());
    let mut options = options();
    options.upload_piece = 200_000;
    options.retry.retries = 3;
    let client = RegistryClient::with_progress(options, Arc::<Reasons>::clone(&reasons)).expect("a client");
    let repository = client.repository(&endpoint(&proxy.host(), "image")).expect("a repository");
    let content = bytes(3_000_000);
    let digest = RegistryDigest::of(&content);
    let opened = AtomicUsize::new(0);
    let owned = content.clone();
    let source = || {
        opened.fetch_add(1, Ordering::SeqCst);
        Ok(std::io::Cursor::new(owned.clone()))
    };
    repository.upload_blob(&digest, 3_000_000, &source).unwrap_or_else(|error| panic!("{error}"));
    let direct = crate::repository(&crate::options(), &registry.host(), "image");
    let mut found = Vec::new();
    direct.blob(&digest, 3_000_000, 0).expect("the blob").read_to_end(&mut found).expect("the blob is read");
    assert!(found == content);
    assert_eq!(opened.load(Ordering::SeqCst), 1, "it did not start again");
    assert!(reasons.0.lock().expect("no panic").len() >= 4, "the connections were cut");
}

#[test]
fn an_upload_that_the_registry_forgot_starts_again() {
    let name = "cut_connections::an_upload_that_the_registry_forgot_starts_again";
    let Some((registry, proxy, _)) = with_blob(name, 1) else { return };
    let repository = through(&proxy, u64::MAX);
    let content = bytes(1_000_000);
    let digest = RegistryDigest::of(&content);
    let uploads = registry.dir.path().join("storage/docker/registry/v2/repositories/image/_uploads");
    let opened = AtomicUsize::new(0);
    /// Removes the registry's uploads while it is read for the first time.
    struct Forgetful(std::io::Cursor<Vec<u8>>, Option<std::path::PathBuf>);
    impl Read for Forgetful {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.position() > 500_000
                && let Some(uploads) = self.1.take()
            {
                std::fs::remove_dir_all(uploads)?;
            }
            self.0.read(buffer)
        }
    }
    let owned = content.clone();
    let source = || {
        let is_first = opened.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(Forgetful(std::io::Cursor::new(owned.clone()), is_first.then(|| uploads.clone())))
    };
    repository.upload_blob(&digest, 1_000_000, &source).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(opened.load(Ordering::SeqCst), 2);
    assert!(repository.blob_exists(&digest).expect("an answer"));
}

#[test]
fn an_upload_that_is_cut_each_time_comes_to_an_end() {
    let name = "cut_connections::an_upload_that_is_cut_each_time_comes_to_an_end";
    let Some((_registry, proxy, _)) = with_blob(name, 1) else { return };
    let repository = through(&proxy, 300_000);
    let content = bytes(3_000_000);
    let error = repository.upload_blob(&RegistryDigest::of(&content), 3_000_000, content.as_slice());
    let error = error.expect_err("the connections are cut");
    assert!(matches!(error.kind(), ErrorKind::Transfer { retries: 3, .. }), "{error}");
}
