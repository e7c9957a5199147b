//! Decisions about recorded statements and signatures, which `ssh-keygen` made: each refusal beside what is accepted.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use libcomposefs_image::Digest;
use libcomposefs_trust::{
    Acceptance, Evidence, Floors, Moment, NamePattern, Question, TrustPolicy, TrustRefusal, decide,
};

const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const NAME: &str = "debian/13.2";

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn public_key(name: &str) -> String {
    String::from_utf8(golden(&format!("{name}.pub"))).unwrap().trim().to_owned()
}

/// A policy with the three keys, of which the last is revoked, and these rules.
fn policy(rules: &str) -> TrustPolicy {
    let mut text = "version = 1\n".to_owned();
    for name in ["release", "audit", "old"] {
        text.push_str(&format!("[key.{name}]\nssh = \"{}\"\n", public_key(name)));
    }
    text.push_str("revoked = \"2026-10-01: laptop stolen\"\n");
    text.push_str(rules);
    TrustPolicy::parse(text.as_bytes()).unwrap()
}

const RULE: &str = "[[rule]]\nname = \"debian/*\"\nkeys = [\"release\", \"audit\", \"old\"]\n";

fn two_of_three() -> TrustPolicy {
    policy(&format!("{RULE}threshold = 2\n"))
}

fn evidence(statement: &str, signers: &[&str]) -> Evidence {
    let signatures = signers.iter().map(|signer| golden(&format!("{statement}.{signer}.sig"))).collect();
    Evidence { statement: golden(statement), signatures }
}

fn question(floors: &Floors) -> Question<'_> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_000_000);
    Question { name: NAME, digest: Digest::from_hex(HEX).unwrap(), now, moment: Moment::FirstUse, floors }
}

fn ask(policy: &TrustPolicy, evidence: &[Evidence]) -> Result<Acceptance, TrustRefusal> {
    decide(policy, &question(&Floors::default()), evidence)
}

#[track_caller]
fn refused(answer: Result<Acceptance, TrustRefusal>, words: &str) {
    let refusal = answer.expect_err(words);
    assert!(refusal.to_string().contains(words), "{refusal}");
    assert!(!refusal.remedy().is_empty());
}

#[test]
fn two_of_two_keys_are_enough() {
    let accepted = ask(&two_of_three(), &[evidence("st42", &["release", "audit"])]).unwrap();
    assert_eq!(accepted.to_string(), "trusted: audit, release (rule debian/*)");
    assert!(matches!(accepted, Acceptance::Signed { serial: 42, expired: None, .. }));
    // Signatures of others change nothing.
    assert!(ask(&two_of_three(), &[evidence("st42", &["evil", "release", "old", "audit"])]).is_ok());
}

#[test]
fn too_few_keys_are_refused() {
    refused(ask(&two_of_three(), &[evidence("st42", &["release"])]), "1 of 2 signatures");
    refused(ask(&two_of_three(), &[evidence("st42", &["release", "release"])]), "1 of 2 signatures");
    refused(ask(&two_of_three(), &[evidence("st42", &["release", "old"])]), "\"old\" is revoked: 2026-10-01: laptop");
    refused(ask(&two_of_three(), &[evidence("st42", &["release", "evil"])]), "does not name its key SHA256:");
    refused(ask(&two_of_three(), &[evidence("st42", &[])]), "0 of 2 signatures");
    refused(ask(&two_of_three(), &[]), "no statement about the image");
}

#[test]
fn a_signature_counts_for_its_bytes_and_purpose_only() {
    let policy = policy(RULE);
    assert!(ask(&policy, &[evidence("st42", &["release"])]).is_ok());
    refused(ask(&policy, &[evidence("st42", &["namespace"])]), "was made for \"file\"");
    let mut changed = evidence("st42", &["release"]);
    changed.statement = String::from_utf8(changed.statement).unwrap().replace("\"serial\":42", "\"serial\":43").into();
    refused(ask(&policy, &[changed]), "signed other bytes");
    let moved = Evidence { statement: golden("st41"), signatures: vec![golden("st42.release.sig")] };
    refused(ask(&policy, &[moved]), "signed other bytes");
    refused(ask(&policy, &[evidence("pretty", &["release"])]), "more than one line");
}

#[test]
fn damaged_signatures_are_refused() {
    let policy = policy(RULE);
    let good = golden("st42.release.sig");
    let with = |signature: Vec<u8>| Evidence { statement: golden("st42"), signatures: vec![signature] };
    for at in 0..good.len() {
        assert!(ask(&policy, &[with(good[..at].to_vec())]).is_err(), "cut at {at}");
        let mut changed = good.clone();
        changed[at] ^= 4;
        assert!(ask(&policy, &[with(changed)]).is_err(), "changed at {at}");
    }
    assert!(ask(&policy, &[with(good.clone())]).is_ok());
    refused(ask(&policy, &[with([&good[..], b"more"].concat())]), "does not begin and end");
    refused(ask(&policy, &[with([&good[..], &good].concat())]), "is not a signature of OpenSSH");
    refused(ask(&policy, &[with(vec![b'A'; 65_537])]), "65536 is the limit");
    let many = Evidence { statement: golden("st42"), signatures: vec![good; 17] };
    refused(ask(&policy, &[many]), "more than 16 signatures");
}

#[test]
fn a_statement_is_for_its_image_and_name() {
    let policy = policy("[[rule]]\nname = \"*\"\nkeys = [\"release\"]\n");
    let (floors, signed) = (Floors::default(), [evidence("st42", &["release"])]);
    assert!(decide(&policy, &question(&floors), &signed).is_ok());
    let other = Question { digest: Digest::from_hex(HEX.replace("00", "01")).unwrap(), ..question(&floors) };
    refused(decide(&policy, &other, &signed), "about another image, fsverity-sha256-12:0011");
    let other = Question { name: "ubuntu/24", ..question(&floors) };
    refused(decide(&policy, &other, &signed), "for the name debian/13.2, not for \"ubuntu/24\"");
}

#[test]
fn the_most_exact_rule_decides_alone() {
    let rules = |exact: &str| policy(&format!("{RULE}threshold = 2\n[[rule]]\nname = \"{exact}\"\naccept = true\n"));
    let one = [evidence("st42", &["release"])];
    assert!(matches!(ask(&rules("debian/13.2"), &one), Ok(Acceptance::Unconditional { .. })));
    assert!(matches!(ask(&rules("debian/13*"), &one), Ok(Acceptance::Unconditional { .. })));
    refused(ask(&rules("*"), &one), "1 of 2 signatures");
}

#[test]
fn names_without_a_rule_are_refused_unless_the_policy_accepts_them() {
    let none = TrustPolicy::parse(b"version = 1\n").unwrap();
    refused(ask(&none, &[]), "no rule of the policy is about the name \"debian/13.2\"");
    let accepting = TrustPolicy::parse(b"version = 1\ndefault = \"accept\"\n").unwrap();
    assert_eq!(ask(&accepting, &[]).unwrap(), Acceptance::NoRule);
}

#[test]
fn serial_numbers_never_fall() {
    let policy = policy(RULE);
    let (old, new) = (evidence("st41", &["release"]), evidence("st42", &["release"]));
    let mut floors = Floors::default();
    assert!(decide(&policy, &question(&floors), std::slice::from_ref(&old)).is_ok());
    floors.raise(&NamePattern::new("debian/*").unwrap(), 42);
    let refusal = decide(&policy, &question(&floors), std::slice::from_ref(&old));
    assert!(refusal.as_ref().is_err_and(|refusal| refusal.remedy().contains("allow-older")));
    refused(refusal, "serial number 41 is below 42, which was accepted before");
    // The statement with the highest number counts, wherever it is in the list.
    for pair in [[old.clone(), new.clone()], [new, old.clone()]] {
        let accepted = decide(&policy, &question(&floors), &pair).unwrap();
        assert!(matches!(accepted, Acceptance::Signed { serial: 42, .. }));
    }
    let demanding = crate::policy(&format!("{RULE}min_serial = 42\n"));
    refused(ask(&demanding, &[old]), "below 42, which the rule demands");
}

#[test]
fn expired_statements_are_refused_at_first_use() {
    let (floors, signed) = (Floors::default(), [evidence("st42", &["release"])]);
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1_811_808_000);
    let at_first_use = Question { now: later, ..question(&floors) };
    refused(decide(&policy(RULE), &at_first_use, &signed), "expired at 2027-06-01T00:00:00Z");
    let before = Question { now: later - Duration::from_secs(1), ..question(&floors) };
    assert!(decide(&policy(RULE), &before, &signed).is_ok());
    let at_mount = Question { moment: Moment::Mount, ..at_first_use };
    let accepted = decide(&policy(RULE), &at_mount, &signed).unwrap();
    assert!(matches!(accepted, Acceptance::Signed { expired: Some(_), .. }));
    let strict = format!("version = 1\nenforce_expiry = \"mount\"\n[key.a]\nssh = \"{}\"\n", public_key("release"));
    let strict = TrustPolicy::parse(format!("{strict}[[rule]]\nname = \"*\"\nkeys = [\"a\"]\n").as_bytes()).unwrap();
    refused(decide(&strict, &at_mount, &signed), "expired at");
}

#[test]
fn a_clock_in_the_past_does_not_make_statements_young() {
    let policy = policy(&format!("{RULE}max_age = \"90d\"\n"));
    let (floors, signed) = (Floors::default(), [evidence("st41", &["release"])]);
    assert!(decide(&policy, &question(&floors), &signed).is_ok());
    let ask_at = |seconds| {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        decide(&policy, &Question { now, ..question(&floors) }, &signed)
    };
    refused(ask_at(0), "in the future of this clock");
    refused(ask_at(1_811_808_000), "issued longer ago");
    refused(ask(&policy, &[evidence("st42", &["release"])]), "does not say when it was issued");
}

#[test]
fn policies_that_could_mislead_are_refused() {
    let key = |name: &str, of: &str| format!("[key.{name}]\nssh = \"{}\"\n", public_key(of));
    let refusal = |text: String| TrustPolicy::parse(text.as_bytes()).expect_err("a refusal").to_string();
    let head = format!("version = 1\n{}", key("a", "release"));
    let rule = |rest: &str| format!("{head}[[rule]]\nname = \"x\"\n{rest}\n");
    assert!(TrustPolicy::parse(rule("keys = [\"a\"]").as_bytes()).is_ok());
    let twice = format!("{head}{}", key("b", "release"));
    assert!(refusal(twice).contains("\"a\" and \"b\" are the same key"));
    assert!(refusal(rule("keys = [\"b\"]")).contains("the key \"b\"; add a table [key.b]"));
    assert!(refusal(rule("keys = []")).contains("threshold is 1, and it names 0 keys"));
    assert!(refusal(rule("keys = [\"a\", \"a\"]\nthreshold = 2")).contains("threshold is 2, and it names 1 keys"));
    assert!(refusal(rule("keys = [\"a\"]\nthreshold = 0")).contains("threshold is 0"));
    assert!(refusal(rule("accept = true\nkeys = [\"a\"]")).contains("stands alone"));
    assert!(refusal(rule("accept = false")).contains("can only be true"));
    assert!(refusal(rule("keys = [\"a\"]\nmax_age = \"soon\"")).contains("like \"90d\""));
    assert!(refusal(rule("keys = [\"a\"]\ntreshold = 1")).contains("treshold"));
    let same_name = format!("{}[[rule]]\nname = \"x\"\naccept = true\n", rule("keys = [\"a\"]"));
    assert!(refusal(same_name).contains("same name"));
    assert!(refusal("version = 2\n".into()).contains("version 2"));
    assert!(refusal(String::new()).contains("version"));
    assert!(refusal("version = 1\n[key.a]\nssh = \"ssh-ed25519 AAAA\"\n".into()).contains("the key \"a\""));
    assert!(refusal(" ".repeat(1_048_577)).contains("1048576 is the limit"));
}
