use super::*;

const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[track_caller]
fn full(text: &str) -> String {
    let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{error}"));
    let again: Reference = reference.to_string().parse().expect("the full form is a reference");
    assert_eq!(again, reference);
    reference.to_string()
}

#[test]
fn docker_hub_is_the_default() {
    assert_eq!(full("debian"), "docker.io/library/debian:latest");
    assert_eq!(full("debian:13"), "docker.io/library/debian:13");
    assert_eq!(full("docker.io/debian:13"), "docker.io/library/debian:13");
    assert_eq!(full("index.docker.io/library/debian"), "docker.io/library/debian:latest");
    assert_eq!(full("one/two:3"), "docker.io/one/two:3");
    let reference: Reference = "debian".parse().expect("a reference");
    assert_eq!((reference.host(), reference.server()), ("docker.io", "registry-1.docker.io"));
    assert_eq!((reference.name().as_str(), reference.identifier()), ("docker.io/library/debian", "latest"));
}

#[test]
fn hosts_and_ports() {
    assert_eq!(full("localhost/a"), "localhost/a:latest");
    assert_eq!(full("host.example/a"), "host.example/a:latest");
    assert_eq!(full("HOST.example:5000/a/b__c-d:x_Y.z"), "host.example:5000/a/b__c-d:x_Y.z");
    assert_eq!(full("[::1]:5000/a"), "[::1]:5000/a:latest");
    assert_eq!(full("LOCALHOST:1/a"), "localhost:1/a:latest");
    assert_eq!(full("Docker.IO/debian"), "docker.io/library/debian:latest");
    // In lowercase it would name a repository of Docker Hub.
    assert_eq!(full("Registry/a"), "Registry/a:latest");
    assert_eq!(full("registry/a"), "docker.io/registry/a:latest");
    assert!(Reference::has_host("localhost:1/a") && !Reference::has_host("one/two:3"));
}

#[test]
fn the_digest_decides() {
    assert_eq!(full(&format!("h.x/a@{HEX}")), format!("h.x/a@{HEX}"));
    assert_eq!(full(&format!("h.x/a:1@{HEX}")), format!("h.x/a:1@{HEX}"));
    let both: Reference = format!("h.x/a:1@{HEX}").parse().expect("a reference");
    assert_eq!((both.tag(), both.identifier()), (Some("1"), HEX));
    let other = both.with_tag("2").expect("a tag");
    assert_eq!(other.to_string(), "h.x/a:2");
    assert_eq!(other.with_digest(HEX.parse().expect("a digest")).to_string(), format!("h.x/a@{HEX}"));
    assert!(both.with_tag("a/b").is_err());
}

#[test]
fn other_texts_are_refused_by_their_part() {
    let kind = |text: &str| match text.parse::<Reference>() {
        Ok(reference) => panic!("{text} is {reference}"),
        Err(ReferenceError::Transport { .. }) => "transport",
        Err(ReferenceError::Host { .. }) => "host",
        Err(ReferenceError::Path { .. }) => "path",
        Err(ReferenceError::Tag { .. }) => "tag",
        Err(ReferenceError::Digest { .. }) => "digest",
        Err(ReferenceError::TooLong { .. }) => "length",
    };
    assert_eq!(kind("docker://debian"), "transport");
    for host in ["-a.b/c", "a..b/c", "a.b:0/c", "a.b:65536/c", "a.b:/c", "[::g]/a", "a:+1/b"] {
        assert_eq!(kind(host), "host", "{host}");
    }
    for path in ["", "Debian", "h.x/", "h.x//a", "h.x/a..b", "h.x/a___b", "h.x/-a", "h.x/a_", "h.x/a\u{e4}", "a b"] {
        assert_eq!(kind(path), "path", "{path}");
    }
    for tag in ["a:", "a:.x", "a:-", &format!("a:{}", "x".repeat(129))] {
        assert_eq!(kind(tag), "tag", "{tag}");
    }
    assert_eq!(kind("a@sha256:00"), "digest");
    // The name and password of a user are not repeated.
    for text in ["user:secret@h.x/a", "secret@h.x:5000/a:1"] {
        let error = text.parse::<Reference>().expect_err("a password").to_string();
        assert!(error.contains("...@h.x") && error.contains("podman login") && !error.contains("secret"), "{error}");
    }
    assert_eq!(kind(&format!("h.x/{}", "a".repeat(252))), "length");
    assert_eq!(full(&format!("h.x/{}:1", "a".repeat(251))).len(), 257);
    // `docker.io/library/` belongs to the name.
    assert_eq!(kind(&"a".repeat(238)), "length");
    assert_eq!(full(&"a".repeat(237)).len(), 255 + ":latest".len());
}
