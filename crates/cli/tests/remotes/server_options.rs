//! Options for servers: credentials of a file, and certificates that cannot be verified.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Place;
use crate::real::{Registry, Setup, has_programs};

/// The user `user` with the password `password`, as `htpasswd -nbB` writes it.
const HTPASSWD: &str = "user:$2y$05$n27qd7t7ml/GxtgQhib9lejrQ4c8B74tFKkb3PRG.FCbVwFu7p4bm\n";
/// The user and the password, as auth files have them.
const AUTH: &str = "dXNlcjpwYXNzd29yZA==";

/// A registry with a certificate of its own, which asks for a password.
fn start(test: &str) -> Option<Registry> {
    if !has_programs(test, &["docker-registry", "openssl"]) {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    certificate(dir.path());
    let http = "  tls:\n    certificate: DIR/server.crt\n    key: DIR/server.key\n";
    let auth = "auth:\n  htpasswd:\n    realm: test\n    path: DIR/htpasswd\n";
    Some(Registry::start_in(dir, &Setup { http, auth, files: &[("htpasswd", HTPASSWD)] }))
}

fn certificate(dir: &Path) {
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=server \
                     -addext subjectAltName=IP:127.0.0.1 -keyout server.key -out server.crt";
    let output = Command::new("openssl").current_dir(dir).args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_registry_may_need_an_authfile_and_have_any_certificate() {
    let Some(registry) = start("server_options::a_registry_may_need_an_authfile_and_have_any_certificate") else {
        return;
    };
    let place = Place::new(20);
    let url = format!("oci://{}/images", registry.host());
    let authfile = place.path("auth.json");
    let auths = serde_json::json!({ "auths": { registry.host(): { "auth": AUTH } } });
    fs::write(&authfile, auths.to_string()).unwrap();
    let (authfile, any) = (format!("--authfile={}", authfile.display()), "--tls-verify=false");
    let authfile = authfile.as_str();
    let cases: [(&[&str], &str); 3] = [(&[], "certificate"), (&[authfile], "certificate"), (&[any], "credentials")];
    for (options, reason) in cases {
        let refused = place.run("here", &[&["push", "image", &url][..], options].concat());
        assert!(refused.status == Some(1) && refused.stderr.contains(reason), "{options:?}: {refused:?}");
    }
    for (repository, arguments) in [
        ("here", &["push", "image", &url][..]),
        ("there", &["plan", &url, "image"]),
        ("there", &["pull", &url, "image"]),
    ] {
        place.ok(repository, &[arguments, &[any, authfile]].concat());
    }
    place.same();
    let refused = place.run("there", &["pull", &url, "image", "--name=other"]);
    assert!(refused.status == Some(1) && refused.stderr.contains("certificate"), "{refused:?}");
}

#[test]
fn an_authfile_is_for_registries_only() {
    let place = Place::new(1);
    let remote = place.path("remote");
    let remote = remote.to_str().unwrap();
    place.ok("here", &["push", "image", remote, "--tls-verify=false"]);
    for (remote, place_of_credentials) in [(remote, "no credentials"), ("https://127.0.0.1:1/x", "netrc")] {
        let refused = place.run("there", &["pull", remote, "image", "--authfile=/nowhere"]);
        let names = refused.stderr.contains("--authfile") && refused.stderr.contains(place_of_credentials);
        assert!(refused.status == Some(1) && names, "{refused:?}");
    }
    place.ok("there", &["pull", remote, "image"]);
}

/// Without the option, plain HTTP is for loopback addresses.
#[test]
fn plain_http_must_be_allowed() {
    let place = Place::new(1);
    let url = "http://192.0.2.1:1/images";
    let refused = place.run("there", &["plan", url, "image"]);
    assert!(refused.status == Some(1) && refused.stderr.contains("plain HTTP"), "{refused:?}");
}
