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
    let keyless =
        r#"{"default": [{"type": "sigstoreSigned", "fulcio": {"caPath": "/ca"}, "rekorPublicKeyPath": "/r"}]}"#;
    let policy = SignaturePolicy::parse(keyless, Path::new("p")).unwrap_or_else(|error| panic!("{error}"));
    let message = policy.decide("docker", &[], "h.x/a:1").map(drop).unwrap_err().to_string();
    assert!(message.contains("`sigstoreSigned` with `fulcio`"), "{message}");
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
    // Also in a requirement, and in its parts.
    for twice in [
        r#"{"default": [{"type": "reject", "type": "reject"}]}"#,
        r#"{"default": [{"type": "sigstoreSigned", "keyPath": "/a", "keyPath": "/b"}]}"#,
        r#"{"default": [{"type": "sigstoreSigned", "keyPath": "/a",
            "signedIdentity": {"type": "matchExact", "type": "matchRepository"}}]}"#,
    ] {
        assert!(reason(twice).contains("occurs twice"), "{twice}");
    }
}

/// Parses a policy with a requirement `sigstoreSigned` that has these fields.
fn sigstore(fields: &str) -> Result<SigstoreRequirement, String> {
    let text = format!(r#"{{"default": [{{"type": "sigstoreSigned", {fields}}}]}}"#);
    let policy = SignaturePolicy::parse(&text, Path::new("p")).map_err(|error| error.to_string())?;
    let demand = policy.decide("docker", &[], "h.x/a:1").map_err(|error| error.to_string())?;
    // A caller that checks no signatures is refused.
    assert!(policy.check("docker", &[], "h.x/a:1").is_err());
    Ok(demand.signatures.into_iter().next().expect("a requirement"))
}

#[test]
fn keys_of_signatures_are_read() {
    let files = |paths: &[&str]| SigstoreKeys::Files(paths.iter().map(PathBuf::from).collect());
    assert_eq!(sigstore(r#""keyPath": "/k""#).map(|found| found.keys), Ok(files(&["/k"])));
    assert_eq!(sigstore(r#""keyPaths": ["/k", "/l"]"#).map(|found| found.keys), Ok(files(&["/k", "/l"])));
    let data = SigstoreKeys::Data(vec![b"key".to_vec()]);
    assert_eq!(sigstore(r#""keyData": "a2V5""#).map(|found| found.keys), Ok(data.clone()));
    assert_eq!(sigstore(r#""keyDatas": ["a2V5"]"#).map(|found| found.keys), Ok(data));
    for (fields, reason) in [
        (r#""keyPath": "/k", "keyData": "a2V5""#, "exactly one of"),
        (r#""keyPaths": []"#, "no key"),
        (r#""keyData": "?""#, "base64"),
        (r#""keyPath": 1"#, "keyPath"),
        (r#""keyPath": "/k", "more": 1"#, "\"more\""),
        (r#""keyPath": "/k", "signedIdentity": {"type": "matchSome"}"#, "matchSome"),
        (r#""keyPath": "/k", "signedIdentity": {"type": "matchExact", "more": 1}"#, "\"more\""),
        (r#""keyPath": "/k", "signedIdentity": {"type": "exactReference"}"#, "dockerReference"),
        (r#""keyPath": "/k", "signedIdentity": {"type": "exactReference", "dockerReference": "h.x/a"}"#, "tag"),
    ] {
        let error = sigstore(fields).expect_err(fields);
        assert!(error.contains(reason), "{fields}: {error}");
    }
}

#[test]
fn identities_decide_about_references() {
    let digest = crate::RegistryDigest::of(b"");
    let by = |identity: &str, image: &str, signed: &str| {
        let requirement = sigstore(&format!(r#""keyPath": "/k", "signedIdentity": {identity}"#));
        let image: Option<Reference> = (!image.is_empty()).then(|| image.parse().expect("a reference"));
        requirement.expect(identity).identity.accepts(image.as_ref(), signed)
    };
    let (digested, both) = (format!("h.x/a@{digest}"), format!("h.x/a:1@{digest}"));
    let exact = r#"{"type": "matchExact"}"#;
    let or_digest = r#"{"type": "matchRepoDigestOrExact"}"#;
    let repository = r#"{"type": "matchRepository"}"#;
    let reference = r#"{"type": "exactReference", "dockerReference": "h.x/b:2"}"#;
    let exact_repository = r#"{"type": "exactRepository", "dockerRepository": "h.x/b"}"#;
    let remap = r#"{"type": "remapIdentity", "prefix": "mirror.x/p", "signedPrefix": "h.x/a"}"#;
    for (identity, image, signed, is_accepted) in [
        (exact, "h.x/a:1", "h.x/a:1", true),
        (exact, "h.x/a:1", "h.x/a:2", false),
        (exact, "h.x/a:latest", "h.x/a", false),
        (exact, &digested, "h.x/a:1", false),
        (exact, "debian:13", "docker.io/library/debian:13", true),
        (exact, "h.x/a:1", "not valid", false),
        (or_digest, "h.x/a:1", "h.x/a:1", true),
        (or_digest, "h.x/a:1", "h.x/a:2", false),
        (or_digest, "h.x/a:latest", "h.x/a", false),
        (or_digest, &digested, "h.x/a:2", true),
        (or_digest, &digested, "h.x/b:2", false),
        (or_digest, &both, "h.x/a:1", false),
        (repository, "h.x/a:1", "h.x/a", true),
        (repository, "h.x/a:1", "h.x/b:1", false),
        (reference, "h.x/a:1", "h.x/b:2", true),
        (reference, "h.x/a:1", "h.x/a:1", false),
        (exact_repository, "h.x/a:1", "h.x/b:7", true),
        (exact_repository, "h.x/a:1", "h.x/bb:7", false),
        (remap, "mirror.x/p:1", "h.x/a:1", true),
        (remap, "mirror.x/p/q:1", "h.x/a/q:1", true),
        (remap, "mirror.x/pq:1", "h.x/aq:1", false),
        (remap, "h.y/c:1", "h.y/c:1", true),
        (exact, "", "h.x/a:1", false),
        (reference, "", "h.x/b:2", true),
        (exact_repository, "", "h.x/b:2", true),
    ] {
        let found = by(identity, image, signed);
        assert_eq!(found.is_ok(), is_accepted, "{identity} {image} {signed}: {found:?}");
    }
    // The default.
    let default = sigstore(r#""keyPath": "/k""#).expect("valid").identity;
    assert_eq!(default, SignedIdentity::MatchRepoDigestOrExact);
}
