//! PKCS#7 signatures that the real `openssl` and `fsverity` make of a digest: each refusal beside what is accepted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use libcomposefs_image::{Algorithm, Digest, verity};
use libcomposefs_testkit::skip;
use libcomposefs_trust::{
    Acceptance, Evidence, Floors, Moment, Question, TrustPolicy, TrustPolicyError, TrustRefusal, decide,
    digest_statement, pkcs7_pem,
};

fn has(program: &str, test: &str) -> bool {
    let is_here = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_here {
        skip::announce(test, &format!("{program} is not installed"));
    }
    is_here
}

/// A directory with keys, and with a file whose digest is signed.
struct Signer(tempfile::TempDir);

impl Signer {
    fn new() -> Self {
        let signer = Self(tempfile::tempdir().unwrap());
        fs::write(signer.path("image"), vec![b'x'; 10_000]).unwrap();
        fs::write(signer.path("formatted"), signer.digest().kernel_formatted()).unwrap();
        signer
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn digest(&self) -> Digest {
        verity::digest(Algorithm::Sha256, &fs::read(self.path("image")).unwrap())
    }

    fn run(&self, line: &str) {
        let mut words = line.split(' ');
        let mut command = Command::new(words.next().unwrap());
        let output = command.current_dir(self.0.path()).args(words).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes a key and its certificate, `NAME.key` and `NAME.pem`.
    fn key(&self, name: &str, kind: &str) {
        self.run(&format!(
            "openssl req -new -x509 -nodes -newkey {kind} -keyout {name}.key -out {name}.pem -subj /CN={name}"
        ));
    }

    /// Signs by `openssl smime` or `openssl cms`.
    fn sign(&self, name: &str, how: &str) -> Vec<u8> {
        let key = format!("-signer {name}.pem -inkey {name}.key");
        self.run(&format!("openssl {how} -binary -in formatted {key} -outform der -out signature"));
        fs::read(self.path("signature")).unwrap()
    }

    fn certificate(&self, name: &str) -> String {
        format!(
            "[key.{name}]\npkcs7 = \"\"\"\n{}\"\"\"\n",
            fs::read_to_string(self.path(&format!("{name}.pem"))).unwrap()
        )
    }

    /// A policy of a rule for `os/*` with these certificates, and these lines of the rule.
    fn policy(&self, names: &[&str], lines: &str) -> Result<TrustPolicy, TrustPolicyError> {
        let keys: String = names.iter().map(|name| self.certificate(name)).collect();
        TrustPolicy::parse(
            format!("version = 1\n{keys}[[rule]]\nname = \"os/*\"\nkeys = {names:?}\n{lines}").as_bytes(),
        )
    }

    fn ask(&self, policy: &TrustPolicy, signatures: &[&[u8]]) -> Result<Acceptance, TrustRefusal> {
        let signatures = signatures.iter().map(|der| pkcs7_pem(der).unwrap().into_bytes()).collect();
        let evidence = Evidence { statement: digest_statement(&self.digest()).into_bytes(), signatures };
        answer(policy, self.digest(), evidence)
    }
}

fn answer(policy: &TrustPolicy, digest: Digest, evidence: Evidence) -> Result<Acceptance, TrustRefusal> {
    let floors = Floors::default();
    let question = Question { name: "os/1", digest, now: SystemTime::now(), moment: Moment::FirstUse, floors: &floors };
    decide(policy, &question, &[evidence])
}

#[track_caller]
fn refused<T: std::fmt::Debug, E: std::fmt::Display>(answer: Result<T, E>, words: &str) {
    match answer {
        Ok(accepted) => panic!("accepted: {accepted:?}"),
        Err(refusal) => assert!(refusal.to_string().contains(words), "{refusal}"),
    }
}

/// With and without signed attributes, and with each hash.
const WAYS: [&str; 4] =
    ["smime -sign -noattr -md sha256", "smime -sign -md sha512", "cms -sign -noattr -md sha384", "cms -sign -keyid"];

#[test]
fn signatures_of_openssl_and_fsverity_count() {
    let test = "signatures_of_openssl_and_fsverity_count";
    if !has("openssl", test) {
        return;
    }
    let signer = Signer::new();
    for (name, kind) in [
        ("rsa", "rsa:2048"),
        ("p256", "ec -pkeyopt ec_paramgen_curve:P-256"),
        ("p384", "ec -pkeyopt ec_paramgen_curve:P-384"),
    ] {
        signer.key(name, kind);
        let policy = signer.policy(&[name], "").unwrap();
        for way in WAYS {
            let accepted = signer.ask(&policy, &[&signer.sign(name, way)]);
            let keys = match accepted {
                Ok(Acceptance::Signed { keys, serial: 0, .. }) => keys,
                other => panic!("{name} {way}: {other:?}"),
            };
            assert_eq!(keys, [name]);
        }
    }
    let mut print = Command::new("openssl");
    print.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(signer.path("rsa.pem"));
    let printed = print.output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap().replace(':', "").to_lowercase();
    let policy = signer.policy(&["rsa"], "").unwrap();
    let fingerprint = policy.fingerprint("rsa").unwrap();
    assert!(printed.trim().ends_with(fingerprint.strip_prefix("SHA256:").unwrap()), "{printed} {fingerprint}");
    if has("fsverity", test) {
        signer.run("fsverity sign image signature --key=rsa.key --cert=rsa.pem");
        signer.ask(&policy, &[&fs::read(signer.path("signature")).unwrap()]).unwrap();
    }
}

#[test]
fn only_the_digest_and_the_certificate_of_the_rule_count() {
    if !has("openssl", "only_the_digest_and_the_certificate_of_the_rule_count") {
        return;
    }
    let signer = Signer::new();
    for name in ["one", "two"] {
        signer.key(name, "ec -pkeyopt ec_paramgen_curve:P-256");
    }
    let both = signer.policy(&["one", "two"], "threshold = 2\n").unwrap();
    let (by_one, by_two) = (signer.sign("one", WAYS[0]), signer.sign("two", WAYS[1]));
    signer.ask(&both, &[&by_one, &by_two]).unwrap();
    refused(signer.ask(&both, &[&by_one, &signer.sign("one", WAYS[1])]), "1 of 2 signatures");
    let one = signer.policy(&["one"], "").unwrap();
    signer.ask(&one, &[&by_one]).unwrap();
    refused(signer.ask(&one, &[&by_two]), "the rule does not name its key of the certificate");
    let revoked = signer.certificate("one") + "revoked = \"lost\"\n[[rule]]\nname = \"*\"\nkeys = [\"one\"]\n";
    let revoked = TrustPolicy::parse(format!("version = 1\n{revoked}").as_bytes()).unwrap();
    refused(signer.ask(&revoked, &[&by_one]), "revoked: lost");
    // The signature beside another digest, and beside a statement of JSON.
    let signatures = vec![pkcs7_pem(&by_one).unwrap().into_bytes()];
    let other = verity::digest(Algorithm::Sha256, b"other");
    let statement = digest_statement(&other).into_bytes();
    refused(answer(&one, other, Evidence { statement, signatures: signatures.clone() }), "signed other bytes");
    let statement = digest_statement(&signer.digest()).into_bytes();
    refused(answer(&one, other, Evidence { statement, signatures: signatures.clone() }), "about another image");
    let statement = br#"{"composefs":1}"#.to_vec();
    refused(answer(&one, signer.digest(), Evidence { statement, signatures }), "not a signature of OpenSSH");
    // Another key with the names of the certificate of the rule.
    fs::rename(signer.path("one.key"), signer.path("real.key")).unwrap();
    fs::rename(signer.path("one.pem"), signer.path("real.pem")).unwrap();
    signer.run(
        "openssl req -new -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -keyout one.key -out one.pem \
                -subj /CN=one -set_serial 7",
    );
    let mut forged = signer.sign("one", WAYS[0]);
    refused(signer.ask(&one, &[&forged]), "the rule does not name its key");
    // A changed bit of the signature, which is at the end.
    forged = by_one.clone();
    *forged.last_mut().unwrap() ^= 1;
    refused(signer.ask(&one, &[&forged]), "signed other bytes");
}

#[test]
fn other_forms_are_refused() {
    if !has("openssl", "other_forms_are_refused") {
        return;
    }
    let signer = Signer::new();
    signer.key("one", "rsa:2048");
    signer.key("two", "rsa:2048");
    let good = signer.sign("one", WAYS[0]);
    let pem = pkcs7_pem(&good).unwrap();
    assert_eq!(pkcs7_pem(pem.as_bytes()).unwrap(), pem);
    refused(pkcs7_pem(&good[..300]), "it is not a PKCS#7 signature");
    refused(pkcs7_pem(&[&good[..], b"\0"].concat()), "it is not a PKCS#7 signature");
    refused(pkcs7_pem(&signer.sign("one", "smime -sign -nodetach -noattr")), "contains what it signs");
    refused(pkcs7_pem(&signer.sign("one", "cms -sign -stream -nodetach -noattr")), "it is not a PKCS#7 signature");
    let two = signer.sign("one", "smime -sign -noattr -signer two.pem -inkey two.key");
    refused(pkcs7_pem(&two), "it has 2 signers");
    refused(pkcs7_pem(&vec![0x30; 70_000]), "65536 is the limit");
    let policy = signer.policy(&["one"], "").unwrap();
    refused(signer.ask(&policy, &[&signer.sign("one", "smime -sign -noattr -md sha1")]), "the algorithm 1.3.14.3.2.26");
    // Text around the PEM.
    let signatures = vec![format!("{pem}{pem}").into_bytes()];
    let statement = digest_statement(&signer.digest()).into_bytes();
    refused(answer(&policy, signer.digest(), Evidence { statement, signatures }), "not a PKCS#7 signature");
}

#[test]
fn certificates_and_rules_that_cannot_count_are_refused() {
    if !has("openssl", "certificates_and_rules_that_cannot_count_are_refused") {
        return;
    }
    let signer = Signer::new();
    signer.key("good", "rsa:2048");
    signer.policy(&["good"], "").unwrap();
    signer.key("short", "rsa:1024");
    refused(signer.policy(&["short"], ""), "1024 bits");
    signer.key("edwards", "ed25519");
    refused(signer.policy(&["edwards"], ""), "not RSA, P-256 or P-384");
    for lines in ["min_serial = 1\n", "max_age = \"90d\"\n"] {
        refused(signer.policy(&["good"], lines), "nothing of serial numbers and times");
    }
    fs::copy(signer.path("good.pem"), signer.path("same.pem")).unwrap();
    refused(signer.policy(&["good", "same"], ""), "are the same key");
    let parse = |text: &str| TrustPolicy::parse(format!("version = 1\n{text}").as_bytes());
    refused(parse("[key.a]\n"), "exactly one of");
    refused(parse("[key.a]\npkcs7 = \"\"\"text\"\"\"\n"), "not one certificate in PEM");
    let private = fs::read_to_string(Path::new(&signer.path("good.key"))).unwrap();
    refused(parse(&format!("[key.a]\npkcs7 = \"\"\"{private}\"\"\"\n")), "not one certificate in PEM");
    let ssh = include_str!("golden/release.pub").trim();
    let mixed = format!("{}[key.s]\nssh = {ssh:?}\n", signer.certificate("good"));
    let rule = |lines: &str| format!("{mixed}[[rule]]\nname = \"*\"\nkeys = [\"good\", \"s\"]\n{lines}");
    refused(parse(&rule("threshold = 2\n")), "keys of both kinds");
    // The twin: one key of either kind is enough, and statements can have what the digest has not.
    parse(&rule("threshold = 1\nmin_serial = 3\n")).unwrap();
}
