//! `policy.json` as a policy of this program: each requirement that a rule can ask for, and each that it cannot.

use std::time::SystemTime;

use libcomposefs_image::Digest;
use libcomposefs_trust::{Floors, Moment, Question, TrustPolicy, decide, import_containers_policy};

const P256: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE6r9y2rjk1kjid7Eo++ZA7SdHKQwW\n\
    PNd+wW4phrACjCyFnq98V/6vhrobGxjQuYTsnsXlxy42QVA3RKiyUfZtWQ==\n\
    -----END PUBLIC KEY-----\n";
const RSA: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAt7RTyO4UjOnOVMPa9yLG\n\
    y3wSbsESZrdLEZkRM/SgFTyGjDiLvvXTYYCNHDCcppUBnNvs1/E3jA4GLMmU1j2q\n\
    lGp7J82uahtjWA4OokhzXEgaNnpTbvVrz+yIwfo+y+4+8NzabsAn3YOeBh0kx8LW\n\
    C34tHrBIVP/dnhi0HOAlhLseV5hWOriZmgyJOMYss7GEJ/t8Rdv7yxPHfVPQVfqT\n\
    uUV2TxBTwm2CwyYFU+y/OSFXrTLvB4tNVFm+yCFGYFxQQFuZAy5FIXNfBZOMFK6f\n\
    ILMQad5Yw8bycseyIKBjbBifvu3soUqfkFlnMT3xo0mGyBbbOwD/4DcE3an+BMCP\n\
    fwIDAQAB\n\
    -----END PUBLIC KEY-----\n";
const ED25519: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAtPztjn0Xax9KZgpOlDAhHprKLNqVljkZJgE1K9jA5SQ=\n\
    -----END PUBLIC KEY-----\n";
const P521: &str = "-----BEGIN PUBLIC KEY-----\n\
    MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQB67EZfF3LS+Sg4zwExQk0mDEpMupw\n\
    IvPXCPQhoaNUiKwspY6yyqVh/KQroYegrIi1LUb3UQNiibMkNDuMmQCCUPQBtm1Z\n\
    JyqYRws4ZV3Al3NF79YX76P7VFUQ+/EoQg7PbbLSwU55u6dgJd+pGkcBm+AxkSvt\n\
    z+RmNiQub/LZeiXORRY=\n\
    -----END PUBLIC KEY-----\n";

fn read(path: &str) -> Result<Vec<u8>, String> {
    let pem = match path {
        "/keys/release.pub" => P256,
        "/other/release.pub" => RSA,
        "/keys/edwards.pem" => ED25519,
        "/keys/p521.pub" => P521,
        "/keys/cosign.crt" => include_str!("golden/kernel.pem"),
        _ => return Err("No such file or directory".to_owned()),
    };
    Ok(pem.as_bytes().to_vec())
}

/// Imports a policy whose scope `example.org/os` has these requirements, beside a default that rejects.
fn import(requirements: &str) -> Result<String, String> {
    let text = format!(
        r#"{{"default": [{{"type": "reject"}}], "transports": {{"docker": {{"example.org/os": [{requirements}]}}}}}}"#
    );
    import_containers_policy(&text, read).map(|imported| imported.text)
}

fn sigstore(fields: &str) -> String {
    format!(r#"{{"type": "sigstoreSigned", {fields}}}"#)
}

/// Returns what a policy says of a name without a signature.
fn verdict(policy: &str, name: &str) -> String {
    let policy = TrustPolicy::parse(policy.as_bytes()).unwrap();
    let digest = Digest::from_hex("ab".repeat(32)).unwrap();
    let floors = Floors::default();
    let question = Question { name, digest, now: SystemTime::now(), moment: Moment::Mount, floors: &floors };
    decide(&policy, &question, &[]).map_or_else(|refusal| refusal.to_string(), |accepted| accepted.to_string())
}

#[test]
fn scopes_are_rules_of_the_same_names() {
    let text = r#"{"default": [{"type": "insecureAcceptAnything"}],
        "transports": {
            "docker": {
                "quay.io": [{"type": "reject"}],
                "quay.io/os": [{"type": "sigstoreSigned", "keyPath": "/keys/release.pub"}],
                "quay.io/os/free": [{"type": "insecureAcceptAnything"}],
                "quay.io/os/free:bad": [{"type": "reject"}]
            },
            "docker-daemon": {"": [{"type": "insecureAcceptAnything"}]}
        }}"#;
    let imported = import_containers_policy(text, read).unwrap();
    assert_eq!(imported.other_transports, ["docker-daemon"]);
    let says = |name: &str| verdict(&imported.text, name);
    assert!(says("quay.io/other:1").contains("the rule quay.io/* rejects all images"));
    for name in ["quay.io/os:1", "quay.io/os/deep/base:1", "quay.io/os@sha256:00"] {
        assert!(says(name).contains("asks for 1 signature"), "{name}: {}", says(name));
    }
    assert!(says("quay.io/os/free:1").contains("accepted"));
    assert!(says("quay.io/os/free:bad").contains("rejects all images"));
    assert!(says("docker.io/library/debian:13").contains("accepted: the policy has no rule"));
    // The scope of all registries counts before the default.
    let text =
        r#"{"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {"": [{"type": "reject"}]}}}"#;
    let imported = import_containers_policy(text, read).unwrap().text;
    assert!(verdict(&imported, "quay.io/os:1").contains("no rule of the policy"));
}

#[test]
fn keys_become_keys_of_openssh() {
    let one = import(&sigstore(r#""keyPath": "/keys/release.pub""#)).unwrap();
    assert!(one.contains("[key.release]\nssh = \"ecdsa-sha2-nistp256 AAAA"), "{one}");
    // Equal names of other keys, and one key in two places.
    let fields = r#""keyPaths": ["/keys/release.pub", "/other/release.pub", "/keys/edwards.pem"], "keyData": "DATA""#;
    use base64::Engine as _;
    let fields = fields.replace("DATA", &base64::engine::general_purpose::STANDARD.encode(P256));
    let several = import(&sigstore(&fields)).unwrap();
    for part in ["[key.release]", "[key.release-2]\nssh = \"ssh-rsa", "[key.edwards]\nssh = \"ssh-ed25519"] {
        assert!(several.contains(part), "no {part} in {several}");
    }
    assert!(several.contains("keys = [\"edwards\", \"release\", \"release-2\"]\nthreshold = 1"), "{several}");
    // All requirements of a scope must hold.
    let both =
        [sigstore(r#""keyPath": "/keys/release.pub""#), sigstore(r#""keyPath": "/keys/edwards.pem""#)].join(", ");
    assert!(import(&both).unwrap().contains("keys = [\"edwards\", \"release\"]\nthreshold = 2"));
    let both = [sigstore(&fields), sigstore(r#""keyPath": "/keys/edwards.pem""#)].join(", ");
    assert!(import(&both).unwrap_err().contains("one key of each of several lists"));
    assert!(import(r#"{"type": "insecureAcceptAnything"}, {"type": "reject"}"#).unwrap().contains("reject = true"));
}

#[test]
fn what_a_rule_cannot_say_is_refused() {
    let refused = |requirement: &str, words: &str| {
        let error = import(requirement).unwrap_err();
        assert!(error.contains(words) && error.contains("example.org/os"), "{error}");
    };
    let key = r#""keyPath": "/keys/release.pub""#;
    refused(r#"{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/keys/release.pub"}"#, "\"signedBy\"");
    refused(&sigstore(r#""fulcio": {"caPath": "/ca"}"#), "\"fulcio\"");
    refused(&sigstore(&format!(r#"{key}, "rekorPublicKeyPath": "/rekor""#)), "\"rekorPublicKeyPath\"");
    refused(&sigstore(r#""pki": {"caRootsPath": "/ca"}"#), "\"pki\"");
    let identity = |kind: &str| sigstore(&format!(r#"{key}, "signedIdentity": {{"type": "{kind}"}}"#));
    refused(&identity("remapIdentity"), "remapIdentity");
    import(&identity("matchRepository")).unwrap();
    for (path, words) in
        [("/keys/none", "No such file"), ("/keys/p521.pub", "curve"), ("/keys/cosign.crt", "not one public key")]
    {
        refused(&sigstore(&format!(r#""keyPath": "{path}""#)), words);
    }
    refused(&sigstore(r#""keyData": "%""#), "not base64");
    refused(r#"{"type": "sigstoreSigned"}"#, "has no key");
    let domain = r#"{"default": [{"type": "reject"}], "transports": {"docker": {"*.org": [{"type": "reject"}]}}}"#;
    assert!(import_containers_policy(domain, read).unwrap_err().contains("a scope for each host"));
    assert!(import_containers_policy("[]", read).unwrap_err().contains("it is not a policy"));
}
