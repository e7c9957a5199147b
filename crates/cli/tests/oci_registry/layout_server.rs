//! A registry that serves the blobs of a layout, moves its tag with each request, and may stop within a layer.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use serde_json::Value;

/// A running server. Its threads end with the process.
pub(crate) struct LayoutServer {
    pub(crate) port: u16,
    /// The number of requests for the tag.
    pub(crate) tag_requests: Arc<AtomicUsize>,
    /// Receives a message when the server stops within a blob.
    pub(crate) stopped: mpsc::Receiver<()>,
}

struct ServedLayout {
    blobs: PathBuf,
    /// Manifests, by digest: what the tag leads to, one after the other, then the last one.
    manifests: Vec<String>,
    tag_requests: Arc<AtomicUsize>,
    /// The digest of the blob of which half is sent.
    stops_at: Option<String>,
    stopped: mpsc::Sender<()>,
}

/// Returns the digests of the manifests that a layout's index has.
pub(crate) fn manifests(layout: &Path) -> Vec<String> {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap();
    entries.iter().map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect()
}

impl LayoutServer {
    /// Serves the blobs of a layout. The tag leads to these manifests.
    pub(crate) fn start(layout: &Path, manifests: Vec<String>, stops_at: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stopped, receiver) = mpsc::channel();
        let tag_requests = Arc::<AtomicUsize>::default();
        let blobs = layout.join("blobs/sha256");
        let served = ServedLayout { blobs, manifests, tag_requests: Arc::clone(&tag_requests), stops_at, stopped };
        let served = Arc::new(served);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let served = Arc::clone(&served);
                thread::spawn(move || served.answer(stream));
            }
        });
        Self { port, tag_requests, stopped: receiver }
    }
}

impl ServedLayout {
    /// Answers one request of a connection. TLS, with which the client begins, is no text.
    fn answer(&self, stream: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let request = lines.next()?;
        lines.take_while(|line| !line.is_empty()).for_each(drop);
        let path = request.split(' ').nth(1)?;
        let mut name = path.rsplit('/').next()?.to_owned();
        if path.ends_with("/manifests/moving") {
            let number = self.tag_requests.fetch_add(1, Ordering::SeqCst);
            name = self.manifests.get(number).or(self.manifests.last())?.clone();
        }
        let body = fs::read(self.blobs.join(name.strip_prefix("sha256:").unwrap_or("none")));
        let (status, body) = body.map_or((404, Vec::new()), |body| (200, body));
        let kind = if path.contains("/manifests/") { "vnd.oci.image.manifest.v1+json" } else { "octet-stream" };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status} -\r\nContent-Type: application/{kind}\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n"
        );
        (&stream).write_all(head.as_bytes()).ok()?;
        if self.stops_at.as_ref() == Some(&name) {
            (&stream).write_all(&body[..length / 2]).ok()?;
            self.stopped.send(()).ok()?;
            loop {
                thread::park();
            }
        }
        (&stream).write_all(&body).ok()
    }
}
