//! policy.json asks for signatures of manifests by keys: images in a registry, in layouts and in archives that are
//! signed are pulled, and others are refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libcomposefs_oci::BlobDigest;
use libcomposefs_testkit::skip;
use serde_json::{Value, json};

use super::real::{Registry, Setup, has_programs};
use super::writer::{self, WrittenFile};
use super::{COMPOSEFS, Place, write_layout};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A place with keys, and a layout with an image `one`.
struct SignedPlace {
    place: Place,
    dir: PathBuf,
    /// Digest of the manifest of the image.
    digest: String,
}

impl SignedPlace {
    /// Returns `None` without openssl.
    fn new() -> Option<Self> {
        Command::new("openssl").arg("version").output().ok()?;
        let place = Place::new();
        let dir = place.dir.path().canonicalize().unwrap();
        for key in ["release", "other"] {
            openssl(&dir, &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key]);
            openssl(&dir, &["pkey", "-in", key, "-pubout", "-out", &format!("{key}.pub")]);
        }
        let files: Vec<WrittenFile> = vec![("usr/file".to_owned(), vec![b"content".repeat(100)])];
        write_layout(&dir.join("layout"), &writer::write(&files), "one");
        let index: Value = serde_json::from_slice(&fs::read(dir.join("layout/index.json")).unwrap()).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        Some(Self { place, dir, digest })
    }

    fn put(&self, content: &[u8]) -> (String, usize) {
        let digest = BlobDigest::of(content);
        fs::write(self.dir.join("layout/blobs/sha256").join(digest.hex()), content).unwrap();
        (digest.to_string(), content.len())
    }

    /// Adds a document to the layout under a name, in place of another one of this name.
    fn tag(&self, media_type: &str, content: &Value, name: &str) -> String {
        let (digest, size) = self.put(content.to_string().as_bytes());
        let path = self.dir.join("layout/index.json");
        let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let entries = index["manifests"].as_array_mut().unwrap();
        let key = "org.opencontainers.image.ref.name";
        entries.retain(|entry| entry["annotations"][key] != name);
        entries.push(json!({ "mediaType": media_type, "digest": digest, "size": size, "annotations": { key: name } }));
        fs::write(path, index.to_string()).unwrap();
        digest
    }

    /// Signs a manifest as cosign does: each signature is by a key, over a payload.
    fn sign(&self, digest: &str, signatures: &[(&str, Value)]) -> String {
        let layer = |(key, payload): &(&str, Value)| {
            fs::write(self.dir.join("payload"), payload.to_string()).unwrap();
            openssl(&self.dir, &["dgst", "-sha256", "-sign", key, "-out", "signature", "payload"]);
            let signature = STANDARD.encode(fs::read(self.dir.join("signature")).unwrap());
            let (digest, size) = self.put(payload.to_string().as_bytes());
            json!({
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": digest, "size": size,
                "annotations": { "dev.cosignproject.cosign/signature": signature },
            })
        };
        let layers: Vec<_> = signatures.iter().map(layer).collect();
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer["digest"].clone()).collect();
        let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
        let config = json!({ "architecture": "", "os": "", "config": {}, "rootfs": rootfs });
        let (config, size) = self.put(config.to_string().as_bytes());
        let config = json!({ "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size });
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let tag = format!("{}.sig", digest.replace(':', "-"));
        self.tag(MANIFEST, &manifest, &tag);
        tag
    }

    /// A requirement for a signature by the key `release`.
    fn by_release(&self, identity: &Value) -> Value {
        let key = self.dir.join("release.pub");
        json!([{ "type": "sigstoreSigned", "keyPath": key, "signedIdentity": identity }])
    }

    fn run(&self, requirements: &Value, arguments: &[&str]) -> Output {
        let config = self.dir.join("config");
        fs::create_dir_all(config.join("containers")).unwrap();
        fs::write(config.join("containers/policy.json"), json!({ "default": requirements }).to_string()).unwrap();
        let mut command = Command::new(COMPOSEFS);
        command.env("XDG_CONFIG_HOME", config).arg("--repo").arg(self.place.repo()).args(arguments).output().unwrap()
    }

    fn pull(&self, requirements: &Value, source: &str) -> Output {
        self.run(requirements, &["oci", "pull", source, "--name=image"])
    }

    fn accepts(&self, requirements: &Value, source: &str) {
        let output = self.pull(requirements, source);
        assert!(output.status.success(), "{source} {requirements}: {output:?}");
    }

    /// Expects a pull to be refused with these words and a remedy, and that nothing has got a name.
    fn refuses(&self, requirements: &Value, source: &str, words: &[&str]) {
        self.place.ours(&["oci", "untag", "image"]);
        let output = self.pull(requirements, source);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{source} {requirements}: {output:?}");
        for word in words.iter().chain(&["policy.json", "\nremedy: "]) {
            assert!(message.contains(word), "{source} {requirements}: {word:?} is not in {message}");
        }
        assert!(!self.place.ours(&["oci", "inspect", "image"]).status.eq(&Some(0)), "{message}");
    }

    fn layout(&self, name: &str) -> String {
        format!("oci:{}/layout:{name}", self.dir.display())
    }
}

fn openssl(dir: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").current_dir(dir).args(arguments).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn payload(digest: &str, reference: &str) -> Value {
    json!({
        "critical": {
            "identity": { "docker-reference": reference },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    })
}

#[test]
fn layouts_and_archives_are_pulled_if_they_are_signed() {
    let Some(signed) = SignedPlace::new() else {
        return skip::announce("layouts_and_archives_are_pulled_if_they_are_signed", "openssl is not installed");
    };
    let (source, digest) = (signed.layout("one"), signed.digest.clone());
    let exact = signed.by_release(&json!({ "type": "exactReference", "dockerReference": "h.x/a:1" }));
    let good = payload(&digest, "h.x/a:1");
    signed.refuses(&exact, &source, &["there is no tag sha256-", &digest]);
    // By another key, of another manifest, for another name, with what must be known.
    let mut critical = good.clone();
    critical["critical"]["more"] = json!(1);
    let other = payload(&BlobDigest::of(b"").to_string(), "h.x/a:1");
    let bad = [
        ("other", good.clone(), "by another key"),
        ("release", other, "of another manifest"),
        ("release", payload(&digest, "h.x/b:1"), "\"h.x/b:1\", not for the reference h.x/a:1"),
        ("release", critical, "malformed"),
    ];
    for (key, payload, reason) in &bad {
        signed.sign(&digest, &[(key, payload.clone())]);
        signed.refuses(&exact, &source, &[reason, "release.pub"]);
    }
    // One good signature is enough, wherever it stands.
    let mut all: Vec<_> = bad.iter().map(|(key, payload, _)| (*key, payload.clone())).collect();
    all.push(("release", good.clone()));
    signed.sign(&digest, &all);
    signed.accepts(&exact, &source);
    let verified = signed.run(&exact, &["oci", "verify", &source, "--json"]);
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((&verified["manifest"], &verified["rule"]), (&json!(digest), &json!("default")));
    assert!(verified["signed_by"][0].as_str().unwrap().ends_with("/release.pub"), "{verified}");
    // Both keys must have signed.
    let both = |key: &str| {
        let data = STANDARD.encode(fs::read(signed.dir.join(format!("{key}.pub"))).unwrap());
        let identity = json!({ "type": "exactRepository", "dockerRepository": "h.x/a" });
        json!([exact[0], { "type": "sigstoreSigned", "keyDatas": [data], "signedIdentity": identity }])
    };
    signed.accepts(&both("release"), &source);
    signed.accepts(&both("other"), &source);
    signed.sign(&digest, &[("release", good.clone())]);
    signed.refuses(&both("other"), &source, &["none at the tag", "key 1 of keyData"]);
    // The image has no reference of its own.
    let by_name = signed.by_release(&json!({ "type": "matchRepository" }));
    signed.refuses(&by_name, &source, &["exactReference or exactRepository"]);
    let archive = format!("oci-archive:{}/a.tar:one", signed.dir.display());
    let mut tar = Command::new("tar");
    tar.current_dir(signed.dir.join("layout")).args(["-cf", "../a.tar", "oci-layout", "index.json", "blobs"]);
    assert!(tar.status().unwrap().success());
    signed.accepts(&exact, &archive);
    signed.refuses(&both("other"), &archive, &["key 1 of keyData"]);
}

#[test]
fn the_index_or_the_manifest_of_the_platform_is_signed() {
    let Some(signed) = SignedPlace::new() else {
        return skip::announce("the_index_or_the_manifest_of_the_platform_is_signed", "openssl is not installed");
    };
    let exact = signed.by_release(&json!({ "type": "exactReference", "dockerReference": "h.x/a:1" }));
    let size = fs::metadata(signed.dir.join("layout/blobs/sha256").join(&signed.digest[7..])).unwrap().len();
    let entry = |platform: Value| {
        let mut entry = json!({ "mediaType": MANIFEST, "digest": signed.digest, "size": size });
        if !platform.is_null() {
            entry["platform"] = platform;
        }
        entry
    };
    let index = |name: &str, entries: Vec<Value>| {
        let content = json!({ "schemaVersion": 2, "mediaType": INDEX, "name": name, "manifests": entries });
        (signed.tag(INDEX, &content, name), content.to_string().len())
    };
    let platform = json!({ "os": "linux", "architecture": "amd64" });
    let (of_two, source) = (index("two", vec![entry(platform.clone())]).0, signed.layout("two"));
    let pull = |requirements: &Value, source: &str| {
        signed.run(requirements, &["oci", "pull", source, "--name=image", "--platform=linux/amd64"])
    };
    let refuses = |source: &str| {
        let output = pull(&exact, source);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains("asks for a signature of"), "{message}");
    };
    refuses(&source);
    let tag = signed.sign(&of_two, &[("release", payload(&of_two, "h.x/a:1"))]);
    assert!(pull(&exact, &source).status.success());
    // A signed index below another one does not vouch for what is beside it.
    let nested = |digest: &str, size: usize| json!({ "mediaType": INDEX, "digest": digest, "size": size });
    let arm = json!({ "os": "linux", "architecture": "arm64" });
    let (legitimate, legitimate_size) = index("arm", vec![entry(arm)]);
    signed.sign(&legitimate, &[("release", payload(&legitimate, "h.x/a:1"))]);
    let (foreign, foreign_size) = index("foreign", vec![entry(platform)]);
    index("outer", vec![nested(&legitimate, legitimate_size), nested(&foreign, foreign_size)]);
    refuses(&signed.layout("outer"));
    // As podman has it: the manifest of the platform is signed.
    signed.tag(MANIFEST, &json!({}), &tag);
    signed.sign(&signed.digest, &[("release", payload(&signed.digest, "h.x/a:1"))]);
    for name in ["two", "outer"] {
        let pulled = pull(&exact, &signed.layout(name));
        assert!(pulled.status.success(), "{name}: {pulled:?}");
    }
}

#[test]
fn a_registry_has_signatures_at_a_tag() {
    let test = "a_registry_has_signatures_at_a_tag";
    let signed = has_programs(test, &["skopeo"]).then(SignedPlace::new).flatten();
    let Some((signed, registry)) = signed.and_then(|signed| Some((signed, Registry::start(test, &Setup::default())?)))
    else {
        return;
    };
    let name = format!("{}/image", registry.host());
    let copy = |tag: &str, to: &str| {
        let (from, to) = (signed.layout(tag), format!("docker://{name}:{to}"));
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--preserve-digests", "--dest-tls-verify=false", &from, &to]);
        let output = skopeo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    copy("one", "1");
    copy("one", "2");
    let (one, two) = (format!("docker://{name}:1"), format!("docker://{name}:2"));
    let by_digest = format!("docker://{name}@{}", signed.digest);
    let default = json!([{ "type": "sigstoreSigned", "keyPath": signed.dir.join("release.pub") }]);
    signed.refuses(&default, &one, &["there is no tag sha256-", &name]);
    let tag = signed.sign(&signed.digest, &[("release", payload(&signed.digest, &format!("{name}:1")))]);
    copy(&tag, &tag);
    signed.accepts(&default, &one);
    signed.accepts(&default, &by_digest);
    // The content is the same, but the signature is for another tag.
    signed.refuses(&default, &two, &[&format!("{name}:1"), &format!("not for the reference {name}:2")]);
    signed.accepts(&signed.by_release(&json!({ "type": "matchRepository" })), &two);
    let by_other = json!([{ "type": "sigstoreSigned", "keyPath": signed.dir.join("other.pub") }]);
    signed.refuses(&by_other, &one, &["by another key", "other.pub"]);
    let verified = signed.run(&default, &["oci", "verify", &one]);
    let text = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && text.contains("release.pub)") && text.contains(&signed.digest), "{text}");
    assert!(!signed.run(&by_other, &["oci", "verify", &one]).status.success());
    // A key that cannot be read refuses, and so do signers that are no keys.
    let missing = json!([{ "type": "sigstoreSigned", "keyPath": "/no/such/key.pub" }]);
    let refused = signed.pull(&missing, &one);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("/no/such/key.pub"));
    let keyless = json!([{ "type": "sigstoreSigned", "fulcio": {}, "rekorPublicKeyPath": "/r" }]);
    let refused = signed.pull(&keyless, &one);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("`fulcio`"));
}
