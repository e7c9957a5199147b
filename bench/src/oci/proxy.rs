//! A proxy before the registry, which counts the bytes of its answers.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::Result;

/// A running proxy. Its threads end with the process.
pub(super) struct CountingProxy {
    /// Its address, as `HOST:PORT`.
    pub(super) address: String,
    bytes: Arc<AtomicU64>,
}

impl CountingProxy {
    /// Starts a proxy to an address.
    pub(super) fn start(registry: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let bytes = Arc::new(AtomicU64::new(0));
        let (shared, registry) = (Arc::clone(&bytes), registry.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (counter, registry) = (Arc::clone(&shared), registry.clone());
                // What a client does with a connection that ends is its own matter.
                thread::spawn(move || drop(serve(client, &registry, &counter)));
            }
        });
        Ok(Self { address, bytes })
    }

    /// Returns the bytes of all answers so far, heads included.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

/// Serves one request of a connection.
fn serve(client: TcpStream, registry: &str, counter: &AtomicU64) -> io::Result<()> {
    let mut reader = BufReader::new(client);
    let mut request = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line == b"\r\n" {
            break;
        }
        if !line.to_ascii_lowercase().starts_with(b"connection:") {
            request.extend_from_slice(&line);
        }
    }
    request.extend_from_slice(b"Connection: close\r\n\r\n");
    let mut upstream = TcpStream::connect(registry)?;
    upstream.write_all(&request)?;
    let mut client = reader.into_inner();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = upstream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        counter.fetch_add(read as u64, Ordering::SeqCst);
        client.write_all(&buffer[..read])?;
    }
}
