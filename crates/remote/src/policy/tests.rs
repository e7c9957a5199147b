use super::*;

const POLICY: &str = r#"{
    "default": [{"type": "reject"}],
    "transports": {
        "docker": {
            "h.x": [{"type": "insecureAcceptAnything"}],
            "h.x/bad": [{"type": "reject"}],
            "h.x/bad/good:1": [{"type": "insecureAcceptAnything"}],
            "h.x/signed": [{"type": "insecureAcceptAnything"}, {"type": "signedBy", "keyType": "GPGKeys"}],
            "h.x/both": [{"type": "sigstoreSigned", "keyPath": "/k"}, {"type": "reject"}],
            "*.wild.x": [{"type": "insecureAcceptAnything"}]
        },
        "oci": {"": [{"type": "insecureAcceptAnything"}], "/srv": [{"type": "reject"}]}
    }
}"#;

fn policy() -> SignaturePolicy {
    SignaturePolicy::parse(POLICY, Path::new("policy.json")).unwrap_or_else(|error| panic!("{error}"))
}

/// The rule that accepts a reference, or the message that refuses it.
fn verdict(reference: &str) -> String {
    let reference: Reference = reference.parse().expect("a reference");
    match policy().check_registry(&reference) {
        Ok(PolicyVerdict::Accepted { rule, .. }) => rule,
        Ok(PolicyVerdict::NoPolicy) => "no policy".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_most_specific_scope_decides() {
    assert_eq!(verdict("h.x/a/b:1"), "transports.docker.\"h.x\"");
    assert_eq!(verdict("h.x/bad/good:1"), "transports.docker.\"h.x/bad/good:1\"");
    for rejected in ["h.x/bad/good:2", "h.x/bad:1", "h.y/a", "debian"] {
        assert!(verdict(rejected).contains("is rejected by the policy policy.json"), "{}", verdict(rejected));
    }
    assert_eq!(verdict("h.x/badly:1"), "transports.docker.\"h.x\"");
    assert_eq!(verdict("a.b.wild.x:5000/r"), "transports.docker.\"*.wild.x\"");
    assert!(verdict("wild.x/r").contains("default has the requirement `reject`"));
}

#[test]
fn what_cannot_be_checked_refuses() {
    let message = verdict("h.x/signed/a:1");
    assert!(message.contains("`signedBy`") && message.contains("cannot be checked by this program"), "{message}");
    assert!(verdict("h.x/both").contains("is rejected"), "{}", verdict("h.x/both"));
}

#[test]
fn other_transports_have_paths() {
    let check = |path: &str| policy().check("oci", &path_scopes(Path::new(path), Some("t")), path).is_ok();
    assert!(check("/home/a") && check("/srvs") && !check("/srv/a/b"));
    assert_eq!(path_scopes(Path::new("/a/b"), Some("t")), ["/a/b:t", "/a/b", "/a"]);
    assert!(policy().check("dir", &[], "dir:/x").is_err());
}

#[test]
fn scopes_of_a_reference() {
    let digest = crate::RegistryDigest::of(b"");
    let reference: Reference = format!("a.b.c:5/r/s:1@{digest}").parse().expect("a reference");
    let expected = [
        format!("a.b.c:5/r/s@{digest}").as_str(),
        "a.b.c:5/r/s:1",
        "a.b.c:5/r/s",
        "a.b.c:5/r",
        "a.b.c:5",
        "*.b.c",
        "*.c",
    ]
    .map(str::to_owned);
    assert_eq!(registry_scopes(&reference), expected);
}

#[test]
fn without_a_file_all_is_accepted_and_said_so() {
    let root = tempfile::tempdir().expect("a directory");
    let locations = Locations { root: Some(root.path().to_owned()), ..Locations::default() };
    let reference: Reference = "debian".parse().expect("a reference");
    let load = || SignaturePolicy::load(&locations);
    let none = load().expect("no file");
    assert_eq!(check_registry(none.as_ref(), &reference).expect("accepted"), PolicyVerdict::NoPolicy);
    let dir = root.path().join("etc/containers");
    std::fs::create_dir_all(&dir).expect("a directory");
    std::fs::write(dir.join("policy.json"), POLICY).expect("a file");
    assert!(check_registry(load().expect("a valid file").as_ref(), &reference).is_err());
    std::fs::write(dir.join("policy.json"), "{").expect("a file");
    assert!(load().is_err());
}

#[test]
fn bad_policies_are_refused() {
    let reason = |text: &str| match SignaturePolicy::parse(text, Path::new("p")) {
        Ok(_) => panic!("{text} is valid"),
        Err(error) => error.to_string(),
    };
    assert!(reason("{}").contains("default"));
    assert!(reason(r#"{"default": []}"#).contains("no requirement"));
    assert!(reason(r#"{"default": [{"type": "maybe"}]}"#).contains("\"maybe\""));
    assert!(reason(r#"{"default": [{"type": "reject", "not": 1}]}"#).contains("\"not\""));
    assert!(reason(r#"{"default": [{"type": "reject"}], "other": 1}"#).contains("other"));
    let twice = r#"{"default": [{"type": "reject"}], "transports": {"oci": {}, "oci": {}}}"#;
    assert!(reason(twice).contains("twice"));
}
