//! Tokens of an authorization server.

use std::fs;
use std::sync::Mutex;
use std::thread;

use libcomposefs_remote::{ClientOptions, ErrorKind, Locations, Mount, RegistryClient, RegistryDigest};

use crate::fake::{Fake, Reply, Seen};
use crate::{endpoint, options, repository};

/// An authorization server, which gives the tokens `t1`, `t2` and so on.
fn token_server() -> Fake {
    let count = Mutex::new(0);
    Fake::start(move |_| {
        let mut count = count.lock().expect("no panic");
        *count += 1;
        Reply::new(200).body(format!(r#"{{"token":"t{count}","expires_in":300}}"#))
    })
}

/// A registry that wants a token of `server`, and accepts those that `accepts` does.
fn registry(server: &Fake, accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> Fake {
    let realm = format!("http://{}/token", server.host());
    Fake::start(move |seen: &Seen| {
        let token = seen.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        match token {
            Some(token) if accepts(token) => Reply::new(201).body("{}"),
            _ => {
                let challenge = format!(r#"Bearer realm="{realm}",service="the registry",error="invalid_token""#);
                Reply::new(401).header("WWW-Authenticate", challenge).body("")
            }
        }
    })
}

fn with_auth(dir: &tempfile::TempDir, host: &str, entry: &str) -> ClientOptions {
    let path = dir.path().join("auth.json");
    fs::write(&path, format!(r#"{{"auths": {{"{host}": {entry}}}}}"#)).expect("a file");
    ClientOptions { locations: Locations { auth_file: Some(path), ..Locations::default() }, ..options() }
}

#[test]
fn a_token_is_asked_for_once_and_used_again() {
    let server = token_server();
    let registry = registry(&server, |token| token == "t1" || token == "t2");
    let repository = repository(&options(), &registry.host(), "some/image");
    let digest = RegistryDigest::of(b"abc");
    assert!(repository.blob_exists(&digest).expect("an answer"));
    assert!(repository.blob_exists(&digest).expect("an answer"));
    let asked = server.seen();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, "/token?service=the+registry&scope=repository%3Asome%2Fimage%3Apull");
    assert_eq!((asked[0].method.as_str(), asked[0].header("authorization")), ("GET", None));
    // The request after the challenge, and the one that knew it.
    assert_eq!(registry.seen().len(), 3);
    // Another right is another token.
    assert_eq!(repository.mount_blob(&digest, "other").expect("an answer"), Mount::Mounted);
    let scopes = "scope=repository%3Asome%2Fimage%3Apull%2Cpush&scope=repository%3Aother%3Apull";
    assert_eq!(server.seen()[1].path, format!("/token?service=the+registry&{scopes}"));
}

#[test]
fn a_token_that_is_refused_is_replaced() {
    let server = token_server();
    let uses = Mutex::new(0);
    let registry = registry(&server, move |token| {
        let mut uses = uses.lock().expect("no panic");
        *uses += 1;
        // The first token is good for one request.
        token == "t1" && *uses == 1 || token == "t2"
    });
    let repository = repository(&options(), &registry.host(), "image");
    for _ in 0..3 {
        assert!(repository.blob_exists(&RegistryDigest::of(b"abc")).expect("an answer"));
    }
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn threads_wait_for_one_token() {
    let server = token_server();
    let registry = registry(&server, |token| token == "t1");
    let client = RegistryClient::new(options()).expect("a client");
    let repository = client.repository(&endpoint(&registry.host(), "image")).expect("a repository");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert!(repository.blob_exists(&RegistryDigest::of(b"abc")).expect("an answer")));
        }
    });
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn passwords_and_identity_tokens_go_to_the_server_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    for (entry, is_form) in [(r#"{"auth": "dTpw"}"#, false), (r#"{"identitytoken": "secret"}"#, true)] {
        let server = token_server();
        let registry = registry(&server, |token| token == "t1");
        let options = with_auth(&dir, &registry.host(), entry);
        assert!(repository(&options, &registry.host(), "image").blob_exists(&RegistryDigest::of(b"")).expect("yes"));
        let asked = &server.seen()[0];
        if is_form {
            let form = "service=the+registry&grant_type=refresh_token&client_id=composefs&refresh_token=secret&\
                        scope=repository%3Aimage%3Apull";
            assert_eq!((asked.method.as_str(), asked.body.as_slice()), ("POST", form.as_bytes()));
            assert_eq!((asked.path.as_str(), asked.header("authorization")), ("/token", None));
        } else {
            assert_eq!(asked.header("authorization"), Some("Basic dTpw"));
            assert!(asked.path.ends_with("&account=u"), "{}", asked.path);
        }
        for seen in registry.seen() {
            let header = seen.header("authorization");
            assert!(header.is_none_or(|header| header == "Bearer t1"), "{header:?}");
        }
    }
}

#[test]
fn refusals_of_the_server_are_reported() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Fake::start(|_| Reply::new(401).body(r#"{"details":"incorrect username or password"}"#));
    let refusing = registry(&server, |_| false);
    let options = with_auth(&dir, &refusing.host(), r#"{"auth": "dTpw"}"#);
    let error = repository(&options, &refusing.host(), "image").manifest("one").expect_err("a refusal");
    assert!(matches!(error.kind(), ErrorKind::Unauthorized { had_credentials: true, .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("incorrect username") && message.contains("podman login"), "{message}");
    for (answer, reason) in [("{}", "no token"), ("<html>", "not JSON")] {
        let server = Fake::start(move |_| Reply::new(200).body(answer));
        let registry = registry(&server, |_| false);
        let error = repository(&crate::options(), &registry.host(), "image").manifest("one").expect_err("no token");
        assert!(error.to_string().contains(reason), "{error}");
    }
    // A registry that accepts no token at all is asked a bounded number of times.
    let server = token_server();
    let stubborn = registry(&server, |_| false);
    let error = repository(&crate::options(), &stubborn.host(), "image").manifest("one").expect_err("a refusal");
    assert!(matches!(error.kind(), ErrorKind::Unauthorized { had_credentials: false, .. }), "{error}");
    assert!(stubborn.seen().len() <= 3 && server.seen().len() <= 2);
}
