//! A proxy before the registry, which counts requests for blobs and changes what they ask for.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// What the proxy does with requests for blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyTreatment {
    /// Passes everything on.
    Nothing,
    /// Keeps the first of several ranges, as many servers do.
    FirstRange,
    /// Removes the ranges.
    NoRanges,
    /// Ends each answer after this number of bytes, as long as it is longer.
    Cut(usize),
    /// Sends no more of an answer after this number of bytes, and keeps the connection open.
    Stall(usize),
}

/// A running proxy. Its threads end with the process.
#[derive(Debug)]
pub struct RegistryProxy {
    /// The port of the loopback address.
    pub port: u16,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    bytes: AtomicU64,
    all_bytes: AtomicU64,
}

impl RegistryProxy {
    /// Starts a proxy to a port of the loopback address.
    ///
    /// # Panics
    ///
    /// If no port is free.
    #[must_use]
    pub fn start(registry: u16, treatment: ProxyTreatment) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let counters: Arc<Counters> = Arc::default();
        let shared = Arc::clone(&counters);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counters = Arc::clone(&shared);
                thread::spawn(move || serve(stream, registry, treatment, &counters));
            }
        });
        Self { port, counters }
    }

    /// Returns the number of requests for blobs, and of the bytes of their answers, heads included.
    #[must_use]
    pub fn counted(&self) -> (u64, u64) {
        (self.counters.requests.load(Ordering::SeqCst), self.counters.bytes.load(Ordering::SeqCst))
    }

    /// Returns the number of bytes of all answers, heads included.
    #[must_use]
    pub fn all_bytes(&self) -> u64 {
        self.counters.all_bytes.load(Ordering::SeqCst)
    }
}

/// Serves one request of a connection.
fn serve(client: TcpStream, registry: u16, treatment: ProxyTreatment, counters: &Counters) -> Option<()> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).ok().filter(|length| *length > 0)?;
        // TLS, with which the client begins, is no text.
        head.push_str(&String::from_utf8(line).ok()?);
    }
    let is_blob = head.lines().next()?.contains("/blobs/");
    let mut request = String::new();
    for line in head.lines().filter(|line| !line.is_empty()) {
        let lower = line.to_lowercase();
        let is_range = is_blob && lower.starts_with("range:");
        match treatment {
            ProxyTreatment::NoRanges if is_range => continue,
            ProxyTreatment::FirstRange if is_range => request.push_str(line.split(',').next()?),
            _ if lower.starts_with("connection:") => continue,
            _ => request.push_str(line),
        }
        request.push_str("\r\n");
    }
    request.push_str("Connection: close\r\n\r\n");
    let mut upstream = TcpStream::connect(("127.0.0.1", registry)).ok()?;
    upstream.write_all(request.as_bytes()).ok()?;
    let mut left = match treatment {
        ProxyTreatment::Cut(most) | ProxyTreatment::Stall(most) if is_blob => most,
        _ => usize::MAX,
    };
    let mut client = reader.into_inner();
    let mut buffer = vec![0; 64 << 10];
    counters.requests.fetch_add(u64::from(is_blob), Ordering::SeqCst);
    while left > 0 {
        let read = upstream.read(&mut buffer).ok().filter(|read| *read > 0)?.min(left);
        left -= read;
        counters.all_bytes.fetch_add(read as u64, Ordering::SeqCst);
        if is_blob {
            counters.bytes.fetch_add(read as u64, Ordering::SeqCst);
        }
        client.write_all(&buffer[..read]).ok()?;
    }
    if matches!(treatment, ProxyTreatment::Stall(_)) {
        // Until the client ends.
        let _ = client.read(&mut buffer);
    }
    Some(())
}
