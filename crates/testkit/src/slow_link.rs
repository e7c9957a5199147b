//! A slow network link: a TCP proxy with a delay in each direction, a rate that all connections share, and cuts.
//!
//! The kernel's own emulation (netem) is not in every kernel, and needs root.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Size of the pieces that travel over the link.
const PIECE: usize = 16 << 10;
/// Pieces of one connection and direction that are on their way at the same time.
const PIECES_ON_THE_WAY: usize = 256;

/// Properties of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSpeed {
    /// Delay of each direction. A request takes twice as long, and a new connection as long again.
    pub delay: Duration,
    /// Bytes per second of each direction, for all connections together. `None` is no limit.
    pub rate: Option<u64>,
    /// Cuts a connection after this number of bytes to the client, as long as cuts are left.
    pub cut_after: Option<u64>,
    /// Number of cuts.
    pub cuts: u64,
}

impl LinkSpeed {
    /// A link with a delay and a rate, without cuts.
    #[must_use]
    pub fn new(delay: Duration, rate: Option<u64>) -> Self {
        Self { delay, rate, cut_after: None, cuts: 0 }
    }

    /// A fast link that cuts `cuts` connections, each after `bytes` to the client.
    #[must_use]
    pub fn cutting(bytes: u64, cuts: u64) -> Self {
        Self { delay: Duration::ZERO, rate: None, cut_after: Some(bytes), cuts }
    }
}

/// A running link. Its threads end with the process.
#[derive(Debug)]
pub struct SlowLink {
    /// The port of the loopback address at this end.
    pub port: u16,
    state: Arc<LinkState>,
}

#[derive(Debug)]
struct LinkState {
    speed: LinkSpeed,
    connections: AtomicU64,
    cuts_left: AtomicU64,
    to_server: Direction,
    to_client: Direction,
}

/// One direction of the link.
#[derive(Debug)]
struct Direction {
    bytes: AtomicU64,
    /// When the last piece that was sent leaves the link free.
    free_at: Mutex<Instant>,
}

impl SlowLink {
    /// Starts a link to a port of the loopback address.
    ///
    /// # Panics
    ///
    /// If no port is free.
    #[must_use]
    pub fn start(server: u16, speed: LinkSpeed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let direction = || Direction { bytes: AtomicU64::new(0), free_at: Mutex::new(Instant::now()) };
        let state = Arc::new(LinkState {
            speed,
            connections: AtomicU64::new(0),
            cuts_left: AtomicU64::new(speed.cuts),
            to_server: direction(),
            to_client: direction(),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || connect(client, server, &state));
            }
        });
        Self { port, state }
    }

    /// Returns the number of bytes that were sent to clients.
    #[must_use]
    pub fn bytes_to_client(&self) -> u64 {
        self.state.to_client.bytes.load(Ordering::SeqCst)
    }

    /// Returns the number of bytes that were sent to the server.
    #[must_use]
    pub fn bytes_to_server(&self) -> u64 {
        self.state.to_server.bytes.load(Ordering::SeqCst)
    }

    /// Returns the number of connections.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }
}

/// Carries one connection.
fn connect(client: TcpStream, server: u16, state: &Arc<LinkState>) -> Option<()> {
    // The handshake takes one way there and one back.
    thread::sleep(state.speed.delay * 2);
    state.connections.fetch_add(1, Ordering::SeqCst);
    let server = TcpStream::connect(("127.0.0.1", server)).ok()?;
    for stream in [&client, &server] {
        stream.set_nodelay(true).ok()?;
    }
    let back = (server.try_clone().ok()?, client.try_clone().ok()?);
    let shared = Arc::clone(state);
    thread::spawn(move || carry(back.0, back.1, &shared, true));
    carry(client, server, state, false)
}

/// Carries the bytes of one direction: this thread reads them, another one sends them when they arrive.
fn carry(mut from: TcpStream, to: TcpStream, state: &Arc<LinkState>, is_to_client: bool) -> Option<()> {
    let (sender, receiver): (SyncSender<(Instant, Vec<u8>)>, _) = sync_channel(PIECES_ON_THE_WAY);
    let shared = Arc::clone(state);
    let other = from.try_clone().ok()?;
    thread::spawn(move || {
        deliver(&receiver, &to, &shared, is_to_client);
        // A cut ends both directions; an end of the sender this one alone.
        let _ = to.shutdown(Shutdown::Write);
        drop(receiver);
        let _ = other.shutdown(Shutdown::Read);
    });
    let direction = if is_to_client { &state.to_client } else { &state.to_server };
    loop {
        let mut piece = vec![0; PIECE];
        let read = from.read(&mut piece).ok().filter(|read| *read > 0)?;
        piece.truncate(read);
        sender.send((direction.arrival(read, &state.speed), piece)).ok()?;
    }
}

/// Sends pieces at the time of their arrival.
fn deliver(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: &TcpStream, state: &LinkState, is_to_client: bool) {
    let direction = if is_to_client { &state.to_client } else { &state.to_server };
    let mut left = state.speed.cut_after.filter(|_| is_to_client);
    for (arrival, piece) in pieces {
        thread::sleep(arrival.saturating_duration_since(Instant::now()));
        let mut end = piece.len();
        if let Some(left) = &mut left {
            if *left < piece.len() as u64 && take_one(&state.cuts_left) {
                end = *left as usize;
            }
            *left = left.saturating_sub(piece.len() as u64);
        }
        direction.bytes.fetch_add(end as u64, Ordering::SeqCst);
        if to.write_all(&piece[..end]).is_err() {
            return;
        }
        if end < piece.len() {
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
}

impl Direction {
    /// Reserves the link for a piece, and returns when its last byte arrives.
    fn arrival(&self, bytes: usize, speed: &LinkSpeed) -> Instant {
        let now = Instant::now();
        let Some(rate) = speed.rate else { return now + speed.delay };
        let mut free_at = self.free_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *free_at = (*free_at).max(now) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        *free_at + speed.delay
    }
}

/// Takes one of a number, if one is left.
fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends `bytes` to each client after it has received one byte.
    fn server(bytes: usize) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _ = client.read_exact(&mut [0]);
                let _ = client.write_all(&vec![7; bytes]);
            }
        });
        port
    }

    fn fetch(link: &SlowLink) -> usize {
        let mut stream = TcpStream::connect(("127.0.0.1", link.port)).expect("the link");
        stream.write_all(&[1]).expect("sent");
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        all.len()
    }

    #[test]
    fn a_link_delays_and_limits() {
        let port = server(200_000);
        let link = SlowLink::start(port, LinkSpeed::new(Duration::from_millis(20), Some(2_000_000)));
        let start = Instant::now();
        assert_eq!(fetch(&link), 200_000);
        // Two delays for the connection, two for the request, and a tenth of a second for the bytes.
        assert!(start.elapsed() >= Duration::from_millis(180), "{:?}", start.elapsed());
        assert_eq!((link.bytes_to_client(), link.bytes_to_server(), link.connections()), (200_000, 1, 1));
    }

    #[test]
    fn a_link_cuts_as_often_as_it_should() {
        let link = SlowLink::start(server(100_000), LinkSpeed::cutting(70_000, 2));
        assert_eq!([fetch(&link), fetch(&link), fetch(&link)], [70_000, 70_000, 100_000]);
    }
}
