//! Answers that are wrong: other contents, other sizes, other types, and bodies without end.

use std::io::Read as _;
use std::sync::Mutex;

use libcomposefs_remote::{Error, ErrorKind, RangesAnswer, RegistryDigest};

use crate::fake::{Fake, Reply};
use crate::{bytes, options, repository};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const LIST: &str = "application/vnd.oci.image.index.v1+json";

/// The error of reading a blob to its end, and the number of bytes before it.
fn blob_error(fake: &Fake, digest: &RegistryDigest, size: u64) -> (Error, usize) {
    let mut found = Vec::new();
    let mut reader = match repository(&options(), &fake.host(), "image").blob(digest, size, 0) {
        Ok(reader) => reader,
        Err(error) => return (error, 0),
    };
    let error = reader.read_to_end(&mut found).expect_err("a wrong blob");
    (error.downcast().expect("an error of this crate"), found.len())
}

#[test]
fn the_last_bytes_of_a_changed_blob_are_not_given() {
    let (content, mut changed) = (bytes(200_000), bytes(200_000));
    changed[5] ^= 1;
    let fake = Fake::start(move |_| Reply::new(200).body(changed.clone()));
    let (error, length) = blob_error(&fake, &RegistryDigest::of(&content), 200_000);
    assert!(matches!(error.kind(), ErrorKind::Digest { .. }), "{error}");
    assert!(length < 200_000);
}

#[test]
fn a_blob_of_another_length_is_refused_at_once() {
    let digest = RegistryDigest::of(b"abc");
    let announced = Fake::start(|_| Reply::new(200).body("abcd"));
    let (error, _) = blob_error(&announced, &digest, 3);
    assert!(matches!(error.kind(), ErrorKind::Size { expected: 3, found: 4 }), "{error}");
    for (body, is_endless) in [("abcd", false), ("abc", true)] {
        let fake = Fake::start(move |_| Reply { body: body.into(), is_endless, ..Reply::new(200) });
        let (error, length) = blob_error(&fake, &digest, 3);
        assert!(matches!(error.kind(), ErrorKind::TooLong { limit: 3 }), "{error}");
        assert_eq!(length, 0);
    }
    let exact = Fake::start(|_| Reply { body: b"abc".into(), ..Reply::new(200) });
    let mut text = String::new();
    let reader = repository(&options(), &exact.host(), "image").blob(&digest, 3, 0);
    reader.expect("the blob").read_to_string(&mut text).expect("the blob is read");
    assert_eq!(text, "abc");
}

#[test]
fn manifests_are_checked() {
    let (good, bad) = (format!(r#"{{"mediaType":"{OCI}"}}"#), RegistryDigest::of(b"other"));
    let digest = RegistryDigest::of(good.as_bytes());
    let fake = Fake::start(move |seen| {
        let reply = Reply::new(200).header("Content-Type", if seen.path.ends_with("type") { LIST } else { OCI });
        match seen.path.rsplit('/').next().expect("a name") {
            "header" => reply.header("Docker-Content-Digest", bad.as_str()).body(good.as_str()),
            "text" => reply.header("Docker-Content-Digest", "sha256:x").body(good.as_str()),
            "endless" => Reply { body: vec![b' '; 1 << 16], is_endless: true, ..reply },
            "announced" => reply.header("Content-Length", "5000000"),
            _ => reply.body(good.as_str()),
        }
    });
    let repository = repository(&options(), &fake.host(), "image");
    let error = |name: &str| repository.manifest(name).expect_err("a wrong manifest");
    assert!(matches!(error("header").kind(), ErrorKind::Digest { .. }), "{}", error("header"));
    assert!(error("text").to_string().contains("Docker-Content-Digest"), "{}", error("text"));
    assert!(error("type").to_string().contains("but the mediaType"), "{}", error("type"));
    for long in ["endless", "announced"] {
        assert!(matches!(error(long).kind(), ErrorKind::TooLong { limit: 4_194_304 }), "{}", error(long));
    }
    let other = RegistryDigest::of(b"something else");
    assert!(matches!(error(other.as_str()).kind(), ErrorKind::Digest { .. }), "{}", error(other.as_str()));
    assert_eq!(repository.manifest(digest.as_str()).expect("a good manifest").digest, digest);
    let accept = fake.seen()[0].head.lines().filter(|line| line.starts_with("accept: ")).count();
    assert_eq!(accept, 4);
}

#[test]
fn a_server_without_ranges_sends_the_blob_again() {
    let content = bytes(300_000);
    let (digest, whole) = (RegistryDigest::of(&content), content.clone());
    let count = Mutex::new(0);
    let fake = Fake::start(move |_| {
        let mut count = count.lock().expect("no panic");
        *count += 1;
        // All but the third answer are cut.
        let body = if *count < 3 { whole[..*count * 100_000].to_vec() } else { whole.clone() };
        Reply { body, ..Reply::new(200).header("Content-Length", "300000") }
    });
    let mut found = Vec::new();
    let mut reader = repository(&options(), &fake.host(), "image").blob(&digest, 300_000, 0).expect("the blob");
    reader.read_to_end(&mut found).unwrap_or_else(|error| panic!("{error}"));
    assert!(found == content);
    let ranges: Vec<_> = fake.seen().iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    let from = |at: u32| Some(format!("bytes={at}-"));
    assert_eq!(ranges, [None, from(100_000), from(200_000)]);
}

#[test]
fn a_part_that_was_not_asked_for_is_refused() {
    for range in ["bytes 0-4/10", "bytes 5-8/10", "bytes 5-9/11", "bytes 9-5/10", "none"] {
        let fake = Fake::start(move |_| Reply::new(206).header("Content-Range", range).body("56789"));
        let error = repository(&options(), &fake.host(), "image").blob(&RegistryDigest::of(b""), 10, 5);
        let error = error.expect_err("another part");
        assert!(matches!(error.kind(), ErrorKind::Protocol { .. } | ErrorKind::Size { .. }), "{range}: {error}");
    }
    let fake = Fake::start(move |_| Reply::new(206).header("Content-Range", "bytes 5-9/10").body("56789"));
    let mut text = String::new();
    let reader = repository(&options(), &fake.host(), "image").blob(&RegistryDigest::of(b""), 10, 5);
    reader.expect("a part").read_to_string(&mut text).expect("the part is read");
    assert_eq!(text, "56789");
}

/// Reads three ranges of ten digits, and returns what arrived and the answer.
fn three_ranges(fake: &Fake) -> (String, Result<RangesAnswer, Error>) {
    let mut found = vec![b'.'; 10];
    let mut sink = |at: u64, bytes: &[u8]| {
        found[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    };
    let digest = RegistryDigest::of(b"0123456789");
    let answer = repository(&options(), &fake.host(), "image").ranges(&digest, 10, &[1..3, 4..5, 6..8], &mut sink);
    (String::from_utf8(found).expect("text"), answer)
}

#[test]
fn servers_answer_several_ranges_in_their_way() {
    let whole = Fake::start(|_| Reply::new(200).body("0123456789"));
    let (found, answer) = three_ranges(&whole);
    let Ok(RangesAnswer::WholeBody(mut reader)) = answer else { panic!("{answer:?}") };
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("the blob is read");
    assert_eq!((found.as_str(), text.as_str()), ("..........", "0123456789"));
    // One range around all, or only the first one.
    let around = Fake::start(|_| Reply::new(206).header("Content-Range", "bytes 0-8/10").body("012345678"));
    let (found, answer) = three_ranges(&around);
    assert!(matches!(answer, Ok(RangesAnswer::Done)), "{answer:?}");
    assert_eq!((found.as_str(), around.seen().len()), (".12.4.67..", 1));
    let single = Fake::start(|seen| {
        let first = seen.header("range").and_then(|range| range.strip_prefix("bytes=")?.split(',').next());
        let first = first.expect("a range").to_owned();
        let text = first.split('-').collect::<String>();
        // The digits of the range: the ends are all of it, or the same.
        let text = if first == "4-4" { "4".to_owned() } else { text };
        Reply::new(206).header("Content-Range", format!("bytes {first}/10")).body(text)
    });
    let (found, answer) = three_ranges(&single);
    assert!(matches!(answer, Ok(RangesAnswer::Done)), "{answer:?}");
    assert_eq!(found, ".12.4.67..");
    // After the first answer it is known that several ranges are of no use.
    let asked: Vec<_> = single.seen().iter().map(|seen| seen.header("range").expect("a range").to_owned()).collect();
    assert_eq!(asked, ["bytes=1-2,4-4,6-7", "bytes=4-4", "bytes=6-7"]);
}

#[test]
fn a_server_that_sends_only_single_ranges_is_asked_for_them() {
    // As S3 does: several ranges are ignored.
    let fake = Fake::start(|seen| {
        let range = seen.header("range").and_then(|range| range.strip_prefix("bytes="));
        match range.and_then(|range| range.split_once('-')) {
            Some((first, last)) if !last.contains(',') => {
                let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().expect("a number"));
                let body = &b"0123456789"[first..=last];
                Reply::new(206).header("Content-Range", format!("bytes {first}-{last}/10")).body(body)
            }
            _ => Reply::new(200).header("Accept-Ranges", "bytes").body("0123456789"),
        }
    });
    let (found, answer) = three_ranges(&fake);
    assert!(matches!(answer, Ok(RangesAnswer::Done)), "{answer:?}");
    assert_eq!((found.as_str(), fake.seen().len()), (".12.4.67..", 4));
}

#[test]
fn ranges_that_are_wrong_are_refused() {
    let error = |range: &'static str, body: &'static str| {
        let fake = Fake::start(move |_| Reply { body: body.into(), ..Reply::new(206).header("Content-Range", range) });
        three_ranges(&fake).1.expect_err("a wrong part")
    };
    assert!(matches!(error("bytes 1-2/10", "123").kind(), ErrorKind::TooLong { limit: 2 }));
    assert!(matches!(error("bytes 1-2/11", "12").kind(), ErrorKind::Size { .. }));
    assert!(error("bytes 4-5/10", "45").to_string().contains("do not have the bytes"));
    assert!(matches!(error("bytes 1-2/10", "").kind(), ErrorKind::Transfer { .. }));
}

#[test]
fn messages_of_the_registry_are_made_safe() {
    let text = r#"{"errors":[{"code":"DENIED","message":"no\u001b[2J\nway"}]}"#;
    let fake = Fake::start(move |seen| match seen.path.ends_with("endless") {
        true => Reply { body: vec![b'{'; 1 << 16], is_endless: true, ..Reply::new(403) },
        false => Reply::new(403).body(text),
    });
    let repository = repository(&options(), &fake.host(), "image");
    let error = repository.manifest("one").expect_err("denied");
    assert!(matches!(error.kind(), ErrorKind::Denied(_)) && error.status() == Some(403));
    let message = error.to_string();
    assert!(message.contains("DENIED: no\\u{1b}[2J\\u{a}way") && !message.contains('\u{1b}'), "{message}");
    assert_eq!(repository.manifest("endless").expect_err("denied").status(), Some(403));
}

#[test]
fn lists_have_an_end() {
    let fake = Fake::start(|seen| {
        let reply = Reply::new(200).body(r#"{"tags":["a"]}"#);
        match seen.path.contains("last=2") {
            true => reply,
            false if seen.path.contains("last=1") => reply.header("Link", "<?last=2>; rel=\"next\""),
            false if seen.path.starts_with("/v2/short/") => reply.header("Link", "<?last=1>; rel=\"next\""),
            false => reply.header("Link", "<?last=0>; rel=\"next\""),
        }
    });
    assert_eq!(repository(&options(), &fake.host(), "short").tags().expect("a list"), ["a", "a", "a"]);
    let error = repository(&options(), &fake.host(), "endless").tags().expect_err("no end");
    assert!(error.to_string().contains("more than 1000 pages"), "{error}");
}

#[test]
fn an_upload_continues_within_a_piece() {
    let stored: std::sync::Arc<Mutex<Vec<u8>>> = std::sync::Arc::default();
    let kept = std::sync::Arc::clone(&stored);
    let fake = Fake::start(move |seen| {
        let mut kept = kept.lock().expect("no panic");
        let at = |length: usize| format!("0-{}", length.saturating_sub(1));
        let reply = |status| Reply::new(status).header("Location", "/upload?state=1");
        match seen.method.as_str() {
            "POST" => reply(202).body(""),
            "GET" => reply(204).header("Range", at(kept.len())),
            "PATCH" if kept.len() == 1000 => {
                // Half of the piece is stored, and the answer is no success.
                kept.extend(&seen.body[..500]);
                Reply::new(503).body("")
            }
            "PATCH" => {
                let range = format!("{}-{}", kept.len(), kept.len() + seen.body.len() - 1);
                assert_eq!(seen.header("content-range"), Some(range.as_str()));
                kept.extend(&seen.body);
                reply(202).header("Range", at(kept.len())).body("")
            }
            _ => Reply::new(201).body(""),
        }
    });
    let mut options = options();
    options.upload_piece = 1000;
    let content = bytes(3500);
    let digest = RegistryDigest::of(&content);
    let repository = repository(&options, &fake.host(), "image");
    repository.upload_blob(&digest, 3500, content.as_slice()).unwrap_or_else(|error| panic!("{error}"));
    assert!(*stored.lock().expect("no panic") == content);
    let last = fake.seen().pop().expect("requests");
    assert_eq!((last.method.as_str(), last.path.contains("state=1&digest=sha256")), ("PUT", true), "{}", last.path);
}
