//! Pushes to a registry, and to one that refuses.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use libcomposefs_testkit::registry::DockerRegistry;
use libcomposefs_testkit::skip;
use serde_json::Value;

use crate::place::{Form, Place, expect_refusal, has, json_of, other, skopeo_digest};

fn outcomes(pushed: &Value) -> Vec<&str> {
    pushed["layers"].as_array().unwrap().iter().map(|layer| layer["outcome"].as_str().unwrap()).collect()
}

#[test]
fn a_registry_gets_the_same_manifest() {
    let test = "a_registry_gets_the_same_manifest";
    let (place, pulled) = Place::with_image(Form::Plain);
    let Some(registry) = DockerRegistry::start(&place.path("registry")) else {
        return skip::announce(test, "docker-registry is not installed");
    };
    let name = |path: &str| format!("docker://{}/{path}", registry.address);
    let push = |image: &str, path: &str, more: &[&str]| {
        place.run("one", &[&["oci", "push", image, &name(path), "--json"], more].concat())
    };
    let pushed = json_of(&push("app", "team/app:1", &[]));
    assert_eq!(pushed["manifest"], pulled["manifest"]);
    assert_eq!(outcomes(&pushed), ["sent"; 3]);
    let again = place.pull("two", &name("team/app:1"), "again");
    assert_eq!((&again["manifest"], &again["image"]), (&pulled["manifest"], &pulled["image"]));
    // Another tag, and another repository.
    assert_eq!(outcomes(&json_of(&push("app", "team/app:2", &[]))), ["present"; 3]);
    let from = name("team/app");
    assert_eq!(outcomes(&json_of(&push("app", "prod/app:1", &[&format!("--from={from}")]))), ["mounted"; 3]);
    // The name by which an image was pulled is a hint too.
    let origin = format!("{}/team/app:2", registry.address);
    place.pull("one", &format!("docker://{origin}"), &origin);
    assert_eq!(outcomes(&json_of(&push(&origin, "other/app:1", &[]))), ["mounted"; 3]);
    expect_refusal(&push("app", "x/app:1", &["--from=docker://example.org/x"]), &["another registry"]);
    expect_refusal(&place.run("one", &["oci", "push", "app", "oci:x"]), &["oci export"]);
    if !has("skopeo") || !has("podman") {
        return skip::announce(test, "skopeo or podman is not installed");
    }
    assert_eq!(skopeo_digest(&name("prod/app:1")), pulled["manifest"]);
    if rustix::process::geteuid().is_root() {
        let (root, run) = (place.text("podman"), place.text("podman-run"));
        let podman = ["--root", &root, "--runroot", &run, "--storage-driver=vfs"];
        let id = other("podman", &[&podman[..], &["pull", "-q", "--tls-verify=false", &name("prod/app:1")]].concat());
        assert_eq!(format!("sha256:{}", id.trim()), pulled["config"]);
    }
}

#[test]
fn a_push_of_other_blobs_is_refused_before_anything_is_sent() {
    let test = "a_push_of_other_blobs_is_refused_before_anything_is_sent";
    let (place, pulled) = Place::with_image(Form::Gzip);
    let Some(registry) = DockerRegistry::start(&place.path("registry")) else {
        return skip::announce(test, "docker-registry is not installed");
    };
    let name = format!("docker://{}/app:1", registry.address);
    let push = |more: &[&str]| place.run("one", &[&["oci", "push", "app", &name, "--json"], more].concat());
    expect_refusal(&push(&[]), &["3 of 3 layers", "layer 3 (sha256:", "nothing was sent", "--recompress"]);
    assert!(!place.path("registry/storage").exists(), "something was stored");
    let pushed = json_of(&push(&["--recompress", "--compression=zstd:5"]));
    assert_eq!((&pushed["config"], &pushed["original_manifest"]), (&pulled["config"], &pulled["manifest"]));
    let again = place.pull("two", &name, "again");
    assert_eq!((&again["manifest"], &again["image"]), (&pushed["manifest"], &pulled["image"]));
    // The same blobs once more.
    assert_eq!(outcomes(&json_of(&push(&["--recompress", "--compression=zstd:5"]))), ["present"; 3]);
    // The blobs of the other image cannot be made here, but the registry has them: it is tagged exactly.
    let repushed = place.run("two", &["oci", "push", "again", &name.replace("app:1", "app:2"), "--json"]);
    let repushed = json_of(&repushed);
    assert_eq!((&repushed["manifest"], outcomes(&repushed)), (&pushed["manifest"], vec!["present"; 3]));
}

/// Passes connections on to a registry, and answers requests that `refuses` names with 403.
fn refusing_proxy(registry: &str, refuses: impl Fn(&str) -> bool + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, registry) = (listener.local_addr().unwrap().to_string(), Arc::new(registry.to_owned()));
    let refuses = Arc::new(refuses);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (registry, refuses) = (Arc::clone(&registry), Arc::clone(&refuses));
            std::thread::spawn(move || pass_on(client, &registry, &*refuses));
        }
    });
    address
}

fn pass_on(mut client: TcpStream, registry: &str, refuses: &dyn Fn(&str) -> bool) -> Option<()> {
    let mut server = TcpStream::connect(registry).ok()?;
    let (mut from_server, mut to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = client.read(&mut buffer).ok().filter(|len| *len > 0)?;
        let head = String::from_utf8_lossy(&buffer[..len.min(4000)]).into_owned();
        if refuses(head.lines().next().unwrap_or_default()) {
            let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = client.write_all(answer.as_bytes());
            let _ = server.shutdown(Shutdown::Both);
            return None;
        }
        server.write_all(&buffer[..len]).ok()?;
    }
}

#[test]
fn a_registry_that_refuses_in_the_middle_has_no_tag() {
    let test = "a_registry_that_refuses_in_the_middle_has_no_tag";
    let (place, pulled) = Place::with_image(Form::Plain);
    let Some(registry) = DockerRegistry::start(&place.path("registry")) else {
        return skip::announce(test, "docker-registry is not installed");
    };
    let push =
        |address: &str| place.run("one", &["oci", "push", "app", &format!("docker://{address}/app:1"), "--json"]);
    let last = pulled["layers"][2]["digest"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let at_a_blob = refusing_proxy(&registry.address, move |line| line.starts_with("PUT ") && line.contains(&last));
    let at_the_end = |line: &str| line.starts_with("PUT ") && line.contains("/manifests/");
    for proxy in [at_a_blob, refusing_proxy(&registry.address, at_the_end)] {
        expect_refusal(&push(&proxy), &["403"]);
        let manifest = format!("docker://{}/app:1", registry.address);
        let refused = place.run("two", &["oci", "pull", &manifest, "--name=x"]);
        expect_refusal(&refused, &["404"]);
    }
    assert_eq!(json_of(&push(&refusing_proxy(&registry.address, |_| false)))["manifest"], pulled["manifest"]);
    let again = place.pull("two", &format!("docker://{}/app:1", registry.address), "again");
    assert_eq!(again["manifest"], pulled["manifest"]);
}
