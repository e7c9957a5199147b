//! TLS with a real registry: authorities, client certificates, and hosts that are called insecure.

use std::fs;
use std::path::Path;
use std::process::Command;

use libcomposefs_remote::{ClientOptions, ErrorKind, Locations, RegistryClient, TlsVerify};

use crate::real::{Registry, Setup, has_programs};
use crate::transfers::upload_image;
use crate::{endpoint, options, repository};

/// Runs openssl in a directory.
fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl").current_dir(dir).args(arguments.split(' ')).output().expect("openssl runs");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes an authority `ca`, and certificates by it: `server` for 127.0.0.1, and `client`.
fn certificates(dir: &Path) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(dir, &format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.crt"));
    fs::write(dir.join("server.ext"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n").expect("a file");
    fs::write(dir.join("client.ext"), "extendedKeyUsage=clientAuth\nbasicConstraints=CA:FALSE\n").expect("a file");
    for name in ["server", "client"] {
        openssl(dir, &format!("req -new {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
        let by = "-CA ca.crt -CAkey ca.key -CAcreateserial -days 2";
        openssl(dir, &format!("x509 -req -in {name}.csr {by} -extfile {name}.ext -out {name}.crt"));
    }
}

/// A registry with TLS, with these further lines below `tls:`.
fn start(name: &str, further: &str) -> Option<Registry> {
    if !has_programs(name, &["docker-registry", "openssl"]) {
        return None;
    }
    let dir = tempfile::tempdir().expect("a directory");
    certificates(dir.path());
    let http = format!("  tls:\n    certificate: DIR/server.crt\n    key: DIR/server.key\n{further}");
    Some(Registry::start_in(dir, &Setup { http: &http, ..Setup::default() }))
}

/// Options whose certs.d has these files of the registry's directory for its host, under other names.
fn with_certificates(registry: &Registry, root: &str, files: &[(&str, &str)]) -> ClientOptions {
    let root = registry.dir.path().join(root);
    let dir = root.join("etc/containers/certs.d").join(registry.host());
    fs::create_dir_all(&dir).expect("a directory");
    for (from, to) in files {
        fs::copy(registry.dir.path().join(from), dir.join(to)).expect("a file");
    }
    let locations = Locations { root: Some(root), ..Locations::default() };
    ClientOptions { locations, ..options() }
}

#[test]
fn the_authority_must_be_known() {
    let Some(registry) = start("certificates::the_authority_must_be_known", "") else { return };
    let host = registry.host();
    let tags = |options: &ClientOptions| repository(options, &host, "image").tags();
    let known = with_certificates(&registry, "known", &[("ca.crt", "ca.crt")]);
    upload_image(&repository(&known, &host, "image"), b"layer", "one");
    assert_eq!(tags(&known).expect("a list"), ["one"]);
    let given = ClientOptions { authority_file: Some(registry.dir.path().join("ca.crt")), ..options() };
    assert_eq!(tags(&given).expect("a list"), ["one"]);
    for unknown in [options(), with_certificates(&registry, "other", &[("client.crt", "x.crt")])] {
        let error = tags(&unknown).expect_err("an unknown authority");
        assert!(matches!(error.kind(), ErrorKind::Certificate { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(&format!("certs.d/{host}/ca.crt")) && message.contains("insecure"), "{message}");
        assert!(message.contains(" is not accepted: no known authority has issued it; "), "{message}");
    }
    let insecure = ClientOptions { tls_verify: TlsVerify::InsecureHosts(vec![host.clone()]), ..options() };
    assert_eq!(tags(&insecure).expect("a list"), ["one"]);
    let other = ClientOptions { tls_verify: TlsVerify::InsecureHosts(vec!["127.0.0.1".to_owned()]), ..options() };
    assert!(tags(&other).is_err());
}

#[test]
fn a_certificate_that_is_its_own_authority_is_trusted_where_it_is_given() {
    let name = "certificates::a_certificate_that_is_its_own_authority_is_trusted_where_it_is_given";
    if !has_programs(name, &["docker-registry", "openssl"]) {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    // As the documentation of the registry makes it: openssl marks it as an authority.
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=own -days 2";
    let own = |name: &str, address: &str| {
        let name = format!("-addext subjectAltName=IP:{address} -keyout {name}.key -out {name}.crt");
        openssl(dir.path(), &format!("req -x509 {key} {name}"));
    };
    own("server", "127.0.0.1");
    own("other", "127.0.0.1");
    let http = "  tls:\n    certificate: DIR/server.crt\n    key: DIR/server.key\n";
    let registry = Registry::start_in(dir, &Setup { http, ..Setup::default() });
    let known = with_certificates(&registry, "known", &[("server.crt", "ca.crt")]);
    upload_image(&repository(&known, &registry.host(), "image"), b"layer", "one");
    for unknown in [options(), with_certificates(&registry, "unknown", &[("other.crt", "ca.crt")])] {
        let error = repository(&unknown, &registry.host(), "image").tags().expect_err("another certificate");
        assert!(matches!(error.kind(), ErrorKind::Certificate { .. }), "{error}");
        assert!(error.to_string().contains(" is not accepted: it is the certificate of an authority, "), "{error}");
    }
    let given = ClientOptions { authority_file: Some(registry.dir.path().join("server.crt")), ..options() };
    assert_eq!(repository(&given, &registry.host(), "image").tags().expect("a list"), ["one"]);
    let error = repository(&given, &format!("localhost:{}", registry.port), "image").tags();
    assert!(matches!(error.expect_err("another name").kind(), ErrorKind::Certificate { .. }));
}

#[test]
fn insecure_is_the_endpoint_and_not_the_host() {
    let Some(registry) = start("certificates::insecure_is_the_endpoint_and_not_the_host", "") else { return };
    let client = RegistryClient::new(options()).expect("a client");
    let mut insecure = endpoint(&registry.host(), "image");
    insecure.is_insecure = true;
    upload_image(&client.repository(&insecure).expect("a repository"), b"layer", "one");
    let error = client.repository(&endpoint(&registry.host(), "image")).expect("a repository").tags();
    assert!(matches!(error.expect_err("not insecure").kind(), ErrorKind::Certificate { .. }));
}

#[test]
fn a_name_that_the_certificate_lacks_is_refused() {
    let Some(registry) = start("certificates::a_name_that_the_certificate_lacks_is_refused", "") else { return };
    let given = ClientOptions { authority_file: Some(registry.dir.path().join("ca.crt")), ..options() };
    let host = format!("localhost:{}", registry.port);
    let error = repository(&given, &host, "image").tags().expect_err("another name");
    assert!(matches!(error.kind(), ErrorKind::Certificate { .. }), "{error}");
    assert!(error.to_string().contains(" is not accepted: certificate not valid for name \"localhost\""), "{error}");
}

#[test]
fn client_certificates_are_shown() {
    let further = "    clientcas:\n      - DIR/ca.crt\n";
    let Some(registry) = start("certificates::client_certificates_are_shown", further) else { return };
    let host = registry.host();
    let files = [("ca.crt", "ca.crt"), ("client.crt", "c.cert"), ("client.key", "c.key")];
    let shown = with_certificates(&registry, "shown", &files);
    upload_image(&repository(&shown, &host, "image"), b"layer", "one");
    assert_eq!(repository(&shown, &host, "image").tags().expect("a list"), ["one"]);
    let missing = with_certificates(&registry, "missing", &files[..1]);
    let error = repository(&missing, &host, "image").tags().expect_err("no certificate");
    assert!(matches!(error.kind(), ErrorKind::Certificate { .. }), "{error}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let Some(registry) = start("certificates::files_that_cannot_be_used_are_named", "") else { return };
    let client = |options: ClientOptions| RegistryClient::new(options).expect("a client");
    let open = |options| client(options).repository(&endpoint(&registry.host(), "image")).map(|_| ());
    let bad = with_certificates(&registry, "bad", &[("config.yml", "bad.crt")]);
    let message = open(bad).expect_err("no certificate").to_string();
    assert!(message.contains("bad.crt") && message.contains("no certificate"), "{message}");
    let incomplete = with_certificates(&registry, "incomplete", &[("client.crt", "c.cert")]);
    let message = open(incomplete).expect_err("no key").to_string();
    assert!(message.contains("c.key is missing"), "{message}");
    let missing = ClientOptions { authority_file: Some("/nonexistent/ca.crt".into()), ..options() };
    let message = open(missing).expect_err("no file").to_string();
    assert!(message.contains("/nonexistent/ca.crt"), "{message}");
}
