//! Hostile statements, signatures and policies: each is refused or read, and only what a key has signed is accepted.
//! The input is a statement, a signature and a policy, with a NUL between them.
#![no_main]

use std::sync::LazyLock;
use std::time::SystemTime;

use composefs_fuzz::{Budget, Linear};
use libcomposefs_image::Digest;
use libcomposefs_trust::{
    Acceptance, CosignKey, CosignPayload, Evidence, Floors, Moment, Question, Statement, TrustPolicy, decide,
};
use libfuzzer_sys::fuzz_target;

// Keys of elliptic curves become tables of points, and the JSON and TOML become trees.
static BUDGET: Budget =
    Budget::new("trust", Linear { base: 2 << 20, per_byte: 256 }, Linear { base: 50_000_000, per_byte: 20_000 });

/// The only valid statements that the key of the policy below has signed.
const SIGNED: [&[u8]; 2] =
    [include_bytes!("../../crates/trust/tests/golden/st41"), include_bytes!("../../crates/trust/tests/golden/st42")];
const KEY: &str = include_str!("../../crates/trust/tests/golden/release.pub");
const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static POLICY: LazyLock<TrustPolicy> = LazyLock::new(|| {
    let key = KEY.trim();
    let text = format!("version = 1\n[key.a]\nssh = \"{key}\"\n[[rule]]\nname = \"*\"\nkeys = [\"a\"]\n");
    TrustPolicy::parse(text.as_bytes()).expect("the policy is valid")
});

/// A certificate whose private key is lost.
static CERTIFICATE_POLICY: LazyLock<TrustPolicy> = LazyLock::new(|| {
    let pem = include_str!("../../crates/trust/tests/golden/kernel.pem");
    let text = format!("version = 1\n[key.a]\npkcs7 = \"\"\"{pem}\"\"\"\n[[rule]]\nname = \"*\"\nkeys = [\"a\"]\n");
    TrustPolicy::parse(text.as_bytes()).expect("the policy is valid")
});

fuzz_target!(|input: &[u8]| BUDGET.check(input.len(), || read(input)));

fn read(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == 0).map(<[u8]>::to_vec);
    let mut part = || parts.next().unwrap_or_default();
    let (statement, signature, policy) = (part(), part(), part());
    if let Ok(read) = Statement::parse(&statement)
        && let Ok(again) = Statement::parse(read.to_line().as_bytes())
    {
        // Times are written in whole seconds.
        assert_eq!((again.digest, again.name, again.serial), (read.digest, read.name, read.serial));
    }
    let payload = CosignPayload::parse(&statement);
    if let Ok(key) = CosignKey::parse(&policy) {
        // Only keys of small order could sign bytes of the fuzzer's, and those are refused.
        let is_signed = key.has_signed(&statement, &String::from_utf8_lossy(&signature));
        assert!(!is_signed || payload.is_err(), "a payload was signed by chance");
    }
    let (floors, evidence) = (Floors::default(), [Evidence { statement, signatures: vec![signature] }]);
    let digest = Digest::from_hex(DIGEST).expect("the digest is valid");
    let (now, moment) = (SystemTime::UNIX_EPOCH, Moment::Mount);
    let question = Question { name: "debian/13.2", digest, now, moment, floors: &floors };
    if let Ok(policy) = TrustPolicy::parse(&policy) {
        let _ = decide(&policy, &question, &evidence);
    }
    let of_digest = |digest: &Digest| {
        let statement = libcomposefs_trust::digest_statement(digest).into_bytes();
        [Evidence { statement, signatures: evidence[0].signatures.clone() }]
    };
    // The certificate has signed nothing.
    assert!(decide(&CERTIFICATE_POLICY, &question, &of_digest(&digest)).is_err(), "the certificate has signed nothing");
    let _ = libcomposefs_trust::pkcs7_pem(&evidence[0].signatures[0]);
    if let Ok(Acceptance::Signed { .. }) = decide(&POLICY, &question, &evidence) {
        let [Evidence { statement, .. }] = &evidence;
        assert!(SIGNED.contains(&statement.as_slice()), "the key has not signed the statement");
    }
}
