//! Pushes to and pulls from S3 and registries.

use std::fs;

use super::{Place, outcome, servers};
use crate::real::{Registry, Setup};

#[test]
fn a_bucket_takes_and_gives_images() {
    let Some(moto) = servers::moto("writable::a_bucket_takes_and_gives_images") else { return };
    servers::make_bucket(moto.port, "bucket");
    let place = Place::new(200);
    fs::create_dir(place.path(".aws")).unwrap();
    fs::write(place.path(".aws/credentials"), "[default]\naws_access_key_id = key\naws_secret_access_key = geheim\n")
        .unwrap();
    let url = "s3://bucket/images";
    let run = |repository: &str, arguments: &[&str]| {
        let mut command = place.command(repository, arguments);
        for name in ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"] {
            command.env_remove(name);
        }
        outcome(command.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", moto.port)))
    };
    for (repository, arguments) in [
        ("here", &["push", "image", url][..]),
        ("there", &["plan", url, "image"]),
        ("there", &["pull", url, "image"]),
        ("here", &["push", "image", url, "--as=other"]),
        ("here", &["remote", "gc", url, "--grace=0"]),
        ("here", &["remote", "list", url]),
    ] {
        let done = run(repository, arguments);
        assert!(done.status == Some(0) && !done.stderr.contains("geheim"), "{arguments:?}: {done:?}");
    }
    place.same();
    let refused = run("there", &["pull", "s3://nowhere/images", "image"]);
    assert!(refused.status == Some(1) && refused.stderr.contains("bucket"), "{refused:?}");
}

#[test]
fn a_registry_takes_and_gives_images() {
    let test = "writable::a_registry_takes_and_gives_images";
    let Some(registry) = Registry::start(test, &Setup::default()) else { return };
    let place = Place::new(200);
    let url = format!("oci://{}/some/images", registry.host());
    place.ok("here", &["push", "image", &url]);
    place.ok("there", &["plan", &url, "image"]);
    place.ok("there", &["pull", &url, "image"]);
    place.same();
    place.ok("here", &["push", "image", &url]);
    let refused = place.run("here", &["remote", "gc", &url]);
    assert!(refused.status == Some(1) && refused.stderr.contains("registry"), "{refused:?}");
    let refused = place.run("there", &["pull", &url, "missing"]);
    assert!(refused.status == Some(1), "{refused:?}");
}
