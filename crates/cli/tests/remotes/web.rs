//! Pulls from web servers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use libcomposefs_testkit::slow_link::{LinkSpeed, SlowLink};

use super::{Place, bytes_below, servers};

/// Reports whether the long forms were asked for.
fn is_full() -> bool {
    std::env::var_os("COMPOSEFS_FULL").is_some_and(|value| value == "1")
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/remote")
}

#[test]
fn a_web_server_serves_what_a_directory_has() {
    let place = Place::new(300);
    let remote = place.path("remote");
    place.ok("here", &["push", "image", remote.to_str().unwrap()]);
    let home = place.path("nginx");
    fs::create_dir(&home).unwrap();
    let test = "web::a_web_server_serves_what_a_directory_has";
    let Some(nginx) = servers::nginx(test, place.dir.path(), &home, "") else { return };
    place.ok("there", &["plan", &url(nginx.port), "image"]);
    place.ok("there", &["pull", &url(nginx.port), "image"]);
    place.same();
    // Nothing can be written there, and the message says where one can.
    let refused = place.run("here", &["push", "image", &url(nginx.port)]);
    assert!(refused.status == Some(1) && refused.stderr.contains("s3://"), "{refused:?}");
    // A server without ranges sends whole files, each once.
    place.forget();
    let Some(python) = servers::python(test, place.dir.path()) else { return };
    let link = SlowLink::start(python.port, LinkSpeed::cutting(u64::MAX, 0));
    place.ok("there", &["pull", &url(link.port), "image"]);
    place.same();
    let (sent, stored) = (link.bytes_to_client(), bytes_below(&remote));
    assert!(sent <= stored * 105 / 100 + 20_000, "{sent} bytes were sent, {stored} are stored");
}

#[test]
fn a_pull_goes_on_after_cuts() {
    let place = Place::new(1500);
    let remote = place.path("remote");
    place.ok("here", &["push", "image", remote.to_str().unwrap()]);
    let home = place.path("nginx");
    fs::create_dir(&home).unwrap();
    let test = "web::a_pull_goes_on_after_cuts";
    let Some(nginx) = servers::nginx(test, place.dir.path(), &home, "") else { return };
    let needed = {
        let link = SlowLink::start(nginx.port, LinkSpeed::cutting(u64::MAX, 0));
        place.ok("there", &["pull", &url(link.port), "image"]);
        link.bytes_to_client()
    };
    let cuts = if is_full() { 100 } else { 10 };
    let mut left = cuts;
    // One pull may be cut several times, up to its retries; the next one continues.
    place.forget();
    let link = SlowLink::start(nginx.port, LinkSpeed::cutting(needed / (cuts + 5), cuts));
    for _ in 0..cuts + 1 {
        let pulled = place.run("there", &["pull", &url(link.port), "image"]);
        left -= 1;
        if pulled.status == Some(0) || left == 0 {
            break;
        }
    }
    place.ok("there", &["pull", &url(link.port), "image"]);
    place.same();
    let sent = link.bytes_to_client();
    println!("{cuts} cuts: {sent} bytes were sent, {needed} are needed, {} connections", link.connections());
    assert!(sent <= needed * 105 / 100, "{sent} bytes were sent, {needed} are needed");
}

/// A proxy that changes one byte of what the server sends, after a number of bytes.
fn changing(server: u16, after: u64) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let passed = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
            let (mut to_server, mut from_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from_client, &mut to_server);
                let _ = to_server.shutdown(Shutdown::Write);
            });
            let passed = Arc::clone(&passed);
            thread::spawn(move || {
                let (mut server, mut client) = (server, client);
                let mut piece = [0; 4096];
                while let Ok(read @ 1..) = server.read(&mut piece) {
                    let at = passed.fetch_add(read as u64, Ordering::SeqCst);
                    if (at..at + read as u64).contains(&after) {
                        piece[(after - at) as usize] ^= 0x10;
                    }
                    if client.write_all(&piece[..read]).is_err() {
                        break;
                    }
                }
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    port
}

#[test]
fn changed_bytes_are_noticed() {
    let place = Place::new(60);
    let remote = place.path("remote");
    place.ok("here", &["push", "image", remote.to_str().unwrap()]);
    let home = place.path("nginx");
    fs::create_dir(&home).unwrap();
    let test = "web::changed_bytes_are_noticed";
    let Some(nginx) = servers::nginx(test, place.dir.path(), &home, "") else { return };
    let whole = bytes_below(&remote);
    let changes = if is_full() { 100 } else { 8 };
    let (mut refused, mut harmless) = (0, 0);
    for change in 0..changes {
        place.forget();
        let port = changing(nginx.port, 50 + whole * change / changes);
        let pulled = place.run("there", &["pull", &url(port), "image"]);
        match pulled.status {
            // A header without meaning, or an answer that was asked for again.
            Some(0) => {
                place.same();
                harmless += 1;
            }
            Some(1) => {
                place.ok("there", &["fsck"]);
                assert!(place.ok("there", &["images", "-q"]).stdout.is_empty());
                refused += 1;
            }
            other => panic!("{other:?}: {pulled:?}"),
        }
    }
    println!("{refused} changes refused, {harmless} harmless");
    assert!(refused >= changes / 4, "{refused} of {changes}");
}
