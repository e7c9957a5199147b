//! Signatures of manifests: one that skopeo 1.18.0 made, and signatures by keys of openssl of all kinds.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libcomposefs_testkit::skip;
use libcomposefs_trust::{CosignKey, CosignPayload};

/// Public half of a key whose private half signed [`PAYLOAD`] by `skopeo copy --sign-by-sigstore-private-key`.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEbrPVrYtPwFiMPwcgQy7U+mBhlsbS
Ov2mIIOIcmawwc1XpsJ1m3cX+59DBN/JA+4QNSG86Uznsh1y4K4m91+1sA==
-----END PUBLIC KEY-----
";
const PAYLOAD: &str = concat!(
    r#"{"critical":{"identity":{"docker-reference":"127.0.0.1:45671/app:1"},"image":{"docker-manifest-diges"#,
    r#"t":"sha256:35df6f4b57a92201e34ca7b191d83f615b864c259141ba5eeaa6f34fa5e14cde"},"type":"cosign contain"#,
    r#"er image signature"},"optional":{"creator":"containers/image 5.34.2","timestamp":1796037749}}"#
);
const SIGNATURE: &str =
    "MEUCIQDHc0IM26/wseXQbO//9Weva5kxPlvwvneUTz287zu2hwIgLMmMGVeQVxN1+k3+ip4n5uqnwxxi2xWIHDk+EsP5aT8=";

#[test]
fn a_signature_of_skopeo_is_good() {
    let key = CosignKey::parse(KEY.as_bytes()).unwrap();
    assert!(key.has_signed(PAYLOAD.as_bytes(), SIGNATURE));
    assert!(!key.has_signed(PAYLOAD.replace("app:1", "app:2").as_bytes(), SIGNATURE));
    assert!(!key.has_signed(PAYLOAD.as_bytes(), &SIGNATURE.replace("c0IM", "c0IN")));
    for text in ["", "MEUC", "!", &"A".repeat(5000)] {
        assert!(!key.has_signed(PAYLOAD.as_bytes(), text), "{text}");
    }
    assert_eq!(CosignPayload::parse(PAYLOAD.as_bytes()).unwrap().reference, "127.0.0.1:45671/app:1");
}

fn openssl(dir: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").current_dir(dir).args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn keys_of_openssl_sign() {
    if Command::new("openssl").arg("version").output().is_err() {
        return skip::announce("keys_of_openssl_sign", "openssl is not installed");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    std::fs::write(path.join("payload"), PAYLOAD).unwrap();
    let kinds: [(&str, &[&str], bool); 6] = [
        ("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], true),
        ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], true),
        ("p521", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], false),
        ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], true),
        ("short", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], false),
        ("ed25519", &["-algorithm", "ED25519"], true),
    ];
    let mut keys = Vec::new();
    for (name, options, is_accepted) in kinds {
        openssl(path, &[&["genpkey", "-out", name], options].concat());
        openssl(path, &["pkey", "-in", name, "-pubout", "-out", "public"]);
        let key = CosignKey::parse(&std::fs::read(path.join("public")).unwrap());
        assert_eq!(key.is_ok(), is_accepted, "{name}: {key:?}");
        let Ok(key) = key else { continue };
        let how: &[&str] = if name == "ed25519" {
            &["pkeyutl", "-sign", "-rawin", "-inkey", name, "-in", "payload", "-out", "signature"]
        } else {
            &["dgst", "-sha256", "-sign", name, "-out", "signature", "payload"]
        };
        openssl(path, how);
        let signature = STANDARD.encode(std::fs::read(path.join("signature")).unwrap());
        assert!(key.has_signed(PAYLOAD.as_bytes(), &signature), "{name}");
        assert!(!key.has_signed(b"other", &signature), "{name}");
        assert!(keys.iter().all(|other: &CosignKey| !other.has_signed(PAYLOAD.as_bytes(), &signature)), "{name}");
        keys.push(key);
    }
    for text in ["", KEY.trim_start_matches('-'), &format!("{KEY}{KEY}"), &KEY.replace("PUBLIC", "PRIVATE")] {
        assert!(CosignKey::parse(text.as_bytes()).is_err(), "{text}");
    }
}
