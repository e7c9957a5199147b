//! A web server of a remote that lies about its packs.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Answers that are no right ones.
const LIES: u64 = 12;

/// A running server, whose threads end with the process.
pub(super) struct LyingServer {
    pub(super) port: u16,
    /// 0 if the server is honest.
    seed: Arc<AtomicU64>,
}

impl LyingServer {
    pub(super) fn start(directory: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, seed) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU64::new(0)));
        let shared = Arc::clone(&seed);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (directory, seed) = (directory.clone(), shared.load(Ordering::SeqCst));
                // A client that does not wait for the end of an answer is no failure.
                thread::spawn(move || answer(client, &directory, seed).ok());
            }
        });
        Self { port, seed }
    }

    /// Lies from now on, in a way that depends on the seed and the range; 0 is the truth.
    pub(super) fn lie(&self, seed: u64) {
        self.seed.store(seed, Ordering::SeqCst);
    }
}

fn answer(mut client: TcpStream, directory: &Path, seed: u64) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut range = None;
    for line in lines.by_ref() {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(found) = line.strip_prefix("range: bytes=") {
            let (first, last) = found.split_once('-').unwrap_or_default();
            range = Some((first.parse::<usize>().unwrap_or(0), last.parse::<usize>().unwrap_or(usize::MAX - 1)));
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let Ok(content) = fs::read(directory.join(path)) else {
        return client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let size = content.len();
    let (status, head, mut body) = match range {
        Some((first, last)) if first < size => {
            let last = last.min(size - 1);
            let head = format!("Content-Range: bytes {first}-{last}/{size}\r\n");
            ("206 Partial Content", head, content[first..=last].to_vec())
        }
        _ => ("200 OK", String::new(), content.clone()),
    };
    let start = |status: &str, head: &str, length: &str| {
        format!("HTTP/1.1 {status}\r\n{head}{length}Connection: close\r\n\r\n").into_bytes()
    };
    let length = |length: usize| format!("Content-Length: {length}\r\n");
    if seed == 0 || !path.contains("/packs/") || request.starts_with("HEAD") {
        client.write_all(&start(status, &head, &length(body.len())))?;
        return if request.starts_with("HEAD") { Ok(()) } else { client.write_all(&body) };
    }
    let half = body.len() / 2;
    match (seed + range.map_or(0, |(first, _)| first as u64 / 1000)) % LIES {
        // Other bytes of the same length.
        0 => body.iter_mut().step_by(1000).for_each(|byte| *byte ^= 1),
        1 => body[half] ^= 0x80,
        2 => body.fill(0),
        // Another part of the file.
        3 => body.rotate_left(half),
        // Shorter, and longer, than was said.
        4 => {
            client.write_all(&start(status, &head, &length(body.len())))?;
            return client.write_all(&body[..half]);
        }
        5 => body.truncate(half),
        6 => body.extend_from_slice(&[7; 100_000]),
        // Without an end.
        7 => {
            client.write_all(&start(status, &head, ""))?;
            loop {
                client.write_all(&body)?;
                thread::sleep(Duration::from_millis(1));
            }
        }
        8 => return client.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        9 => return client.write_all(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        // The connection ends without an answer.
        10 => return Ok(()),
        // Byte by byte.
        _ => {
            client.write_all(&start(status, &head, &length(body.len())))?;
            for byte in body {
                client.write_all(&[byte])?;
                thread::sleep(Duration::from_millis(50));
            }
            return Ok(());
        }
    }
    client.write_all(&start(status, &head, &length(body.len())))?;
    client.write_all(&body)
}
