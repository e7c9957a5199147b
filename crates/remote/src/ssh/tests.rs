//! The client and the server, connected by pipes.

use std::io::{Cursor, Read, Write};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use libcomposefs_delivery::{DirectoryStore, FileVersion, Persistence, Sha256Digest};
use libcomposefs_repo::RefName;

use super::*;

fn store(connection: Connection) -> SshStore {
    let url = SshUrl::parse("ssh://host/dir").unwrap();
    let options = SshOptions { program: "/nonexistent".into(), ..SshOptions::default() };
    SshStore { location: url.to_string(), url, options, connection: Mutex::new(Arc::new(connection)) }
}

/// Connects a client to a server for a directory.
fn connected(dir: &std::path::Path, read_only: Option<&'static str>) -> SshStore {
    let (their_input, our_output) = std::io::pipe().unwrap();
    let (our_input, their_output) = std::io::pipe().unwrap();
    let directory = DirectoryStore::open(dir).unwrap();
    thread::spawn(move || serve(&directory, read_only, their_input, their_output));
    let (input, output): (OwnedFd, OwnedFd) = (our_output.into(), our_input.into());
    store(Connection::over(input, output, Duration::from_secs(20), None).unwrap_or_else(|error| panic!("{error}")))
}

/// Connects a client to a server that says the given bytes, and ends.
fn answered(bytes: Vec<u8>) -> Result<SshStore, WireError> {
    let (mut their_input, our_output) = std::io::pipe().unwrap();
    let (our_input, mut their_output) = std::io::pipe().unwrap();
    thread::spawn(move || {
        let _ = their_output.write_all(&bytes);
        drop(their_output);
        let _ = their_input.read_to_end(&mut Vec::new());
    });
    Connection::over(our_output.into(), our_input.into(), Duration::from_secs(20), None).map(store)
}

#[derive(Default)]
struct Kept(Vec<u8>, bool);

impl RangeSink for Kept {
    fn begin(&mut self, _: RangeAnswer) -> io::Result<()> {
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.1 {
            return Err(io::Error::other("full"));
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn noise(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

#[test]
fn many_threads_share_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let store = connected(dir.path(), None);
    thread::scope(|scope| {
        for number in 0..8_usize {
            let store = &store;
            scope.spawn(move || {
                let content = noise(100_000 * number + number + 1);
                let name = FileName::Pack(Sha256Digest::of(&content));
                assert_eq!(store.length(&name).unwrap(), None);
                assert_eq!(store.create(&name, &mut Cursor::new(&content)).unwrap(), CreateOutcome::New);
                assert_eq!(store.create(&name, &mut Cursor::new(&content)).unwrap(), CreateOutcome::Existed);
                let end = content.len() as u64;
                let mut kept = Kept::default();
                let answer = store.read_range(&name, end / 2..end, &mut kept).unwrap();
                assert_eq!(answer, Some(RangeAnswer::Part));
                assert!(kept.0 == content[content.len() / 2..]);
            });
        }
    });
    assert_eq!(store.list(FileKind::Pack).unwrap().len(), 8);
}

#[test]
fn refusals_leave_the_connection_usable() {
    let dir = tempfile::tempdir().unwrap();
    let store = connected(dir.path(), None);
    let content = noise(300_000);
    let (good, bad) = (Sha256Digest::of(&content), Sha256Digest::of(b"other"));
    // Content that is not what the name says, that ends early, and that fails.
    let error = store.create(&FileName::Pack(bad), &mut Cursor::new(&content)).unwrap_err();
    assert!(error.to_string().contains("SHA-256"), "{error}");
    assert!(store.create(&FileName::Pack(bad), &mut Cursor::new(b"")).is_err());
    struct Short(Cursor<Vec<u8>>);
    impl Read for Short {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl NewContent for Short {
        fn length(&self) -> u64 {
            300_001
        }
        fn rewind(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = store.create(&FileName::Pack(good), &mut Short(Cursor::new(content.clone()))).unwrap_err();
    assert!(error.to_string().contains("too early"), "{error}");
    assert_eq!(store.list(FileKind::Pack).unwrap(), []);
    // A receiver that fails, and ranges that are not there.
    let name = FileName::Pack(good);
    store.create(&name, &mut Cursor::new(&content)).unwrap();
    let mut full = Kept(Vec::new(), true);
    assert!(store.read_range(&name, 0..300_000, &mut full).unwrap_err().to_string().contains("full"));
    assert!(store.read_range(&name, 299_999..300_001, &mut Kept::default()).is_err());
    assert!(store.read(&name, 299_999).is_err());
    assert_eq!(store.read(&name, 300_000).unwrap().unwrap().bytes, content);
    // Refs by compare-and-swap.
    let name = FileName::Ref(RefName::new("a/b").unwrap());
    let RefReplacement::Done(Some(version)) = store.replace(&name, b"1", &ExpectedFile::Absent).unwrap() else {
        panic!()
    };
    assert_eq!(store.replace(&name, b"2", &ExpectedFile::Absent).unwrap(), RefReplacement::Changed);
    let other = ExpectedFile::Version(FileVersion("other".to_owned()));
    assert_eq!(store.replace(&name, b"2", &other).unwrap(), RefReplacement::Changed);
    assert!(matches!(store.replace(&name, b"2", &ExpectedFile::Version(version)).unwrap(), RefReplacement::Done(_)));
    assert_eq!(store.read(&name, 10).unwrap().unwrap().bytes, b"2");
    store.delete(&name).unwrap();
    assert_eq!(store.read(&name, 10).unwrap(), None);
}

#[test]
fn a_read_only_server_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = connected(dir.path(), Some("because"));
    assert_eq!(store.abilities().read_only.as_deref(), Some("because"));
    let name = FileName::Pack(Sha256Digest::of(b"x"));
    assert!(store.create(&name, &mut Cursor::new(b"x")).unwrap_err().to_string().contains("because"));
    let name = FileName::Ref(RefName::new("a").unwrap());
    assert!(store.replace(&name, b"x", &ExpectedFile::Absent).unwrap_err().to_string().contains("because"));
    assert!(store.delete(&name).unwrap_err().to_string().contains("because"));
    assert_eq!(store.read(&name, 10).unwrap(), None);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn hostile_servers_are_refused() {
    let hello = b"composefs-remote\x01\0\x01\0".to_vec();
    let frame = |kind: u8, payload: &[u8]| [&(payload.len() as u32).to_le_bytes()[..], &[kind], payload].concat();
    let ready = frame(32, &[0, 0, 0]);
    let mut answers = vec![Vec::new(), b"Last login".to_vec(), hello.clone(), [&hello[..], &frame(33, &[])].concat()];
    answers.push([&hello[..], &[0xff; 5]].concat());
    for answer in answers {
        assert!(answered(answer).is_err());
    }
    let name = FileName::Pack(Sha256Digest::of(b"x"));
    let part = frame(35, &[]);
    for reply in [
        // Cut; another reply; more and fewer bytes; a reply within; too long; unknown.
        vec![],
        frame(37, &[]),
        [&part[..], &frame(1, b"123456789")].concat(),
        [&part[..], &frame(1, b"1"), &frame(2, &[])].concat(),
        [&part[..], &frame(35, &[])].concat(),
        [&part[..], &frame(1, b"")].concat(),
        vec![0xff; 100],
        frame(99, &[]),
    ] {
        let store = answered([&hello[..], &ready, &reply].concat()).unwrap_or_else(|error| panic!("{error}"));
        let mut kept = Kept::default();
        assert!(store.read_range(&name, 0..8, &mut kept).is_err(), "{reply:?}");
        assert!(kept.0.len() <= 8);
    }
    // The twin.
    let reply = [&part[..], &frame(1, b"12345678"), &frame(2, &[])].concat();
    let store = answered([&hello[..], &ready, &reply].concat()).unwrap_or_else(|error| panic!("{error}"));
    let mut kept = Kept::default();
    assert_eq!(store.read_range(&name, 0..8, &mut kept).unwrap(), Some(RangeAnswer::Part));
    // The connection ends then, and the program cannot be started again.
    let error = store.length(&name).unwrap_err();
    assert!(matches!(error.persistence(), Persistence::Temporary { .. }), "{error}");
    assert!(store.length(&name).unwrap_err().to_string().contains("does not exist"));
}

#[test]
fn hostile_clients_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let directory = DirectoryStore::open(dir.path()).unwrap();
    let hello = b"composefs-remote\x01\0\x01\0".to_vec();
    let frame = |kind: u8, payload: &[u8]| [&(payload.len() as u32).to_le_bytes()[..], &[kind], payload].concat();
    let create = frame(19, &[&3_u64.to_le_bytes()[..], &[4], Sha256Digest::of(b"abc").as_bytes()].concat());
    for (bytes, is_good) in [
        (vec![], false),
        (hello.clone(), true),
        ([&create[..], &frame(1, b"abc"), &frame(2, &[])].concat(), true),
        ([&create[..], &frame(1, b"abcd")].concat(), false),
        ([&create[..], &frame(1, b"ab"), &frame(2, &[])].concat(), false),
        ([&create[..], &frame(16, &[])].concat(), false),
        (create.clone(), false),
        (frame(18, &[1, 2, 0, b'.', b'.']), false),
        (frame(18, &[9]), false),
        (vec![0xff; 64], false),
    ] {
        let input = if bytes.is_empty() || bytes == hello { bytes } else { [&hello[..], &bytes].concat() };
        let mut output = Vec::new();
        let result = serve(&directory, None, &input[..], &mut output);
        assert_eq!(result.is_ok(), is_good, "{input:?}: {result:?}");
        assert!(output.len() < 1000);
    }
    let name = FileName::Pack(Sha256Digest::of(b"abc"));
    assert_eq!(directory.read(&name, 10).unwrap().unwrap().bytes, b"abc");
}
