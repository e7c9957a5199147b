//! A server that lies: every answer is refused or is what was asked for, in bounded memory and without a hang.

use std::time::Duration;

use libcomposefs_delivery::{RangeAnswer, RemoteStore};
use libcomposefs_remote::{ClientOptions, WebStore};

use super::contract::{Kept, pack};
use super::fake::{Fake, Reply};
use super::{noise, options};

/// Bytes of the file that the server has.
const LENGTH: usize = 5000;
/// The range that is asked for.
const RANGE: std::ops::Range<u64> = 1000..3000;

/// Returns whether a chain of lies is chosen by the bits of a number.
fn reply(lie: usize) -> Reply {
    let content = noise(LENGTH);
    let part = &content[1000..3000];
    let (value, kind) = (lie / 20, lie % 20);
    let range = |text: String| Reply::new(206).header("Content-Range", text);
    match kind {
        // Another range, or another length than it says.
        0 => range(format!("bytes {}-{}/{LENGTH}", 1000 + value % 7 + 1, 2999 + value % 5)).body(part),
        1 => range(format!("bytes 1000-2999/{LENGTH}")).body(&part[value % 2000 / 2 + 1..]),
        2 => range(format!("bytes 1000-2999/{LENGTH}")).body([part, &vec![b'x'; value + 1]].concat()),
        3 => range(format!("bytes 1000-2999/{}", value % 3000)).body(part),
        // Not a range at all.
        4 => range("bytes=1000-2999".to_owned()).body(part),
        5 => Reply::new(206).body(part),
        6 => range(format!("bytes 1000-{}/*", u64::MAX - value as u64)).body(part),
        // Other codes.
        7 => Reply::new([201, 203, 204, 205, 207, 226, 299][value % 7]).body(part),
        8 => Reply::new([300, 304, 305, 306, 310][value % 5]).body(part),
        9 => Reply::new([400, 401, 402, 403, 405, 407, 409, 411, 418, 451][value % 10]).body(part),
        10 => Reply::new([500, 501, 502, 503, 504, 505, 599][value % 7]).body(part),
        // Bodies that do not end, with and without a length.
        11 => Reply { is_endless: true, ..Reply::new(200).body(vec![b'x'; 4096]) },
        12 => Reply { is_endless: true, body: vec![b'x'; 65536], ..Reply::new(200) },
        13 => Reply { is_endless: true, body: vec![b'x'; 65536], ..range(format!("bytes 1000-2999/{LENGTH}")) },
        // Redirects to other schemes, to no host and to a closed port.
        14 => {
            let targets =
                ["file:///etc/passwd", "http://", "ftp://127.0.0.1/", "//[", "javascript:1", "http://127.0.0.1:1/"];
            Reply::new(302).header("Location", targets[value % targets.len()]).body("")
        }
        15 => Reply::new(302).body(""),
        // A bomb: what it would be when unpacked is not asked for.
        16 => range(format!("bytes 1000-2999/{LENGTH}"))
            .header("Content-Encoding", ["gzip", "br", "x"][value % 3])
            .body(part),
        17 => Reply::new(200).header("Content-Encoding", "deflate").body(content),
        // Too short for the range, and lengths that are no numbers.
        18 => Reply::new(200).body(&content[..value % 3000]),
        _ => {
            let lengths = ["-1", "abc", "18446744073709551616", "1000000000000", ""];
            Reply { body: part.to_vec(), ..range(format!("bytes 1000-2999/{LENGTH}")) }
                .header("Content-Length", lengths[value % lengths.len()])
        }
    }
}

#[test]
fn no_lie_is_believed() {
    let is_full = std::env::var_os("COMPOSEFS_FULL").is_some_and(|value| value == "1");
    let lies: usize = if is_full { 1000 } else { 60 };
    let fake = Fake::start(move |seen| {
        let hex = seen.path.rsplit('/').next().unwrap_or_default();
        let lie = (0..1000).find(|lie: &usize| pack(&lie.to_le_bytes()).path().ends_with(hex)).unwrap();
        reply(lie)
    });
    let options = ClientOptions { idle_time: Duration::from_secs(5), ..options() };
    let store = WebStore::open(&format!("http://127.0.0.1:{}/", fake.port), options, &[]).unwrap();
    let content = noise(LENGTH);
    let mut whole = 0;
    for lie in 0..lies {
        let name = pack(&lie.to_le_bytes());
        let mut kept = Kept::default();
        let result = store.read_range(&name, RANGE, &mut kept);
        // Never more than was promised.
        assert!(kept.bytes.len() <= 8192, "{lie}: {} bytes", kept.bytes.len());
        match result {
            Err(_) => {}
            Ok(Some(RangeAnswer::Part)) => panic!("{lie}: a lie was believed"),
            // The bytes are not what the digest says, which the caller checks.
            Ok(Some(RangeAnswer::Whole(length))) => {
                assert_eq!(length, kept.bytes.len() as u64, "{lie}");
                whole += 1;
            }
            Ok(None) => panic!("{lie}: the file is missing"),
        }
        // The same as a whole file.
        if let Ok(Some(file)) = store.read(&name, LENGTH as u64) {
            assert!(file.bytes.len() <= LENGTH, "{lie}");
        }
    }
    assert!(whole <= lies / 10, "{whole}");
    // The twin: the truth.
    let truth = content.clone();
    let fake = Fake::start(move |_| {
        Reply::new(206).header("Content-Range", format!("bytes 1000-2999/{LENGTH}")).body(&truth[1000..3000])
    });
    let store = WebStore::open(&format!("http://127.0.0.1:{}/", fake.port), super::options(), &[]).unwrap();
    let mut kept = Kept::default();
    assert_eq!(store.read_range(&pack(b"x"), RANGE, &mut kept).unwrap(), Some(RangeAnswer::Part));
    assert!(kept.bytes == content[1000..3000]);
}
