//! Compares the configurations with those that podman 5.4.2 wrote for the same image and options.
//!
//! The files in `golden_podman` are podman's `config.json` without the seccomp filter, the annotations, the path of the
//! root and of the control group, and with `/bundle` for its directories.

use std::path::Path;

use libcomposefs_oci::runtime::{
    BindMount, CgroupLimits, ContainerNetwork, ContainerPlace, ContainerUser, GeneratedFiles, ImageProcess,
    ProcessLimit, RunOptions, TmpfsMount, VolumeAttributes, runtime_spec,
};
use serde_json::Value;

const IMAGE: &str = r#"{"config":{"User":"app","Env":["FOO=bar"],"Entrypoint":["/bin/env"],"Cmd":["id"],
    "Volumes":{"/data/vol":{}},"WorkingDir":"/data/x","Labels":{"a":"b"},"StopSignal":"3"}}"#;
const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:App:/home/app:/bin/sh\n";
const GROUP: &[u8] = b"root:x:0:\napp:x:1001:\nextra:x:2000:app,other\nmore:x:2001:app\n";

/// Makes what both differ in on purpose equal, and sorts what has no order.
fn normal(mut spec: Value, is_podman: bool) -> Value {
    let expect = "a configuration of a runtime";
    let process = spec["process"].as_object_mut().expect(expect);
    let absent = |value: &Value| value.is_null() || *value == false || value.as_array().is_some_and(Vec::is_empty);
    process.retain(|_, value| !absent(value));
    let user = process["user"].as_object_mut().expect(expect);
    user.retain(|_, value| !absent(value));
    let capabilities = process["capabilities"].as_object_mut().expect(expect);
    capabilities.retain(|_, value| !absent(value));
    capabilities.values_mut().for_each(sort);
    for variable in process["env"].as_array_mut().expect(expect) {
        if variable == "container=podman" {
            *variable = "container=oci".into();
        }
    }
    sort(&mut process["env"]);
    let ours_alone = ["seccomp", "cgroupsPath"];
    let linux = spec["linux"].as_object_mut().expect(expect);
    linux.retain(|name, value| !ours_alone.contains(&name.as_str()) && value != &serde_json::json!({}));
    for list in ["maskedPaths", "namespaces"] {
        sort(&mut linux[list]);
    }
    let mounts = spec["mounts"].as_array_mut().expect(expect);
    // Volumes and the shared memory of podman are directories of its own that outlive the container.
    let elsewhere = ["/run/.containerenv", "/data/vol", "/dev/shm"];
    mounts.retain(|mount| !elsewhere.iter().any(|path| mount["destination"] == *path));
    mounts.iter_mut().for_each(|mount| sort(&mut mount["options"]));
    sort(&mut spec["mounts"]);
    let root = spec["root"].as_object_mut().expect(expect);
    root.retain(|name, value| name != "path" && !absent(value));
    if !is_podman {
        let spec = spec.as_object_mut().expect(expect);
        spec.retain(|name, _| !["ociVersion", "annotations"].contains(&name.as_str()));
    }
    spec
}

fn sort(list: &mut Value) {
    let list = list.as_array_mut().expect("a list");
    list.sort_by_key(Value::to_string);
    list.dedup();
}

fn as_podman(name: &str, user: &str, options: &RunOptions) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden_podman/{name}.json"));
    let recorded = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let recorded: Value = serde_json::from_slice(&recorded).unwrap();
    let resolv_conf = Some("/bundle/resolv.conf".into()).filter(|_| options.network == ContainerNetwork::Host);
    let place = ContainerPlace {
        root: "rootfs".into(),
        hostname: recorded["hostname"].as_str().unwrap().to_owned(),
        files: GeneratedFiles { hosts: "/bundle/hosts".into(), hostname: "/bundle/hostname".into(), resolv_conf },
        user: ContainerUser::resolve(user, PASSWD, GROUP).unwrap(),
        limits: vec![ProcessLimit::OpenFiles(20_000, 20_000), ProcessLimit::Processes(96_365, 96_365)],
        cgroups_path: None,
        seccomp: None,
        terminal_size: None,
        volumes: Default::default(),
        user_namespace: None,
    };
    let image = ImageProcess::parse(IMAGE.as_bytes()).unwrap();
    let ours = serde_json::to_value(runtime_spec(&image, options, &place).unwrap()).unwrap();
    let (ours, podmans) = (normal(ours, false), normal(recorded, true));
    for (name, podmans) in podmans.as_object().unwrap() {
        assert_eq!(&ours[name], podmans, "{name}");
    }
    assert_eq!(ours.as_object().unwrap().len(), podmans.as_object().unwrap().len(), "{ours}");
}

#[test]
fn an_image_without_options() {
    as_podman("image", "app", &RunOptions::default());
}

#[test]
fn a_number_as_the_user() {
    as_podman("numeric_user", "1234", &RunOptions::default());
}

#[test]
fn the_network_of_the_host_and_a_terminal() {
    let env = vec![("A".to_owned(), "b".to_owned())];
    let options = RunOptions { env, terminal: true, network: ContainerNetwork::Host, ..RunOptions::default() };
    as_podman("host_network_and_terminal", "root", &options);
}

#[test]
fn a_read_only_root_with_mounts() {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let tmpfs = |path: &str, options: &[&str]| TmpfsMount { destination: path.into(), options: words(options) };
    let bind = |source: &str, path: &str, options: &[&str]| BindMount {
        source: source.into(),
        destination: path.into(),
        options: words(options),
    };
    let options = RunOptions {
        read_only: true,
        binds: vec![bind("/srv", "/mnt/srv", &[]), bind("/srv/rootfs", "/mnt/ro", &["ro"])],
        tmpfs: vec![tmpfs("/t1", &[]), tmpfs("/t2", &["size=1m", "noexec"])],
        ..RunOptions::default()
    };
    as_podman("read_only", "app", &options);
}

#[test]
fn limits_of_memory_and_cpu() {
    let limits = CgroupLimits { memory: Some(64 << 20), cpu_quota: Some(150_000), pids: None };
    as_podman("limits", "app", &RunOptions { limits, ..RunOptions::default() });
}

fn place(user: &str) -> ContainerPlace {
    ContainerPlace {
        root: "rootfs".into(),
        hostname: "host".into(),
        files: GeneratedFiles::default(),
        user: ContainerUser::resolve(user, PASSWD, GROUP).unwrap(),
        limits: vec![],
        cgroups_path: None,
        seccomp: None,
        terminal_size: None,
        volumes: Default::default(),
        user_namespace: None,
    }
}

fn refusal(image: &str, options: &RunOptions) -> Result<(), String> {
    let image = ImageProcess::parse(image.as_bytes()).unwrap();
    runtime_spec(&image, options, &place("")).map(drop).map_err(|error| error.to_string())
}

#[test]
fn what_no_process_can_have_is_refused() {
    let none = RunOptions::default();
    let starts = |image: &str, options: &RunOptions, message: &str| {
        let error = refusal(image, options).unwrap_err();
        assert!(error.starts_with(message), "{image}: {error}");
    };
    assert_eq!(refusal(r#"{"config":{"Cmd":["sh"]}}"#, &none), Ok(()));
    starts("{}", &none, "no command: the image has neither Entrypoint nor Cmd");
    starts(r#"{"config":{"Cmd":[""]}}"#, &none, "the command is empty");
    starts(r#"{"config":{"Cmd":["a\u0000b"]}}"#, &none, "argument \"a\\0b\" has a NUL byte");
    starts(r#"{"config":{"Cmd":["sh"],"Env":["A=\u0000"]}}"#, &none, "Env \"A=\\0\" has a NUL byte");
    starts(r#"{"config":{"Cmd":["sh"],"Env":["=x"]}}"#, &none, "environment variable \"=x\" has no name");
    starts(r#"{"config":{"Cmd":["sh"],"WorkingDir":"a"}}"#, &none, "WorkingDir \"a\" is not a path in the container");
    starts(r#"{"config":{"Cmd":["sh"],"WorkingDir":"/a/.."}}"#, &none, "WorkingDir");
    let read_only = RunOptions { read_only: true, ..RunOptions::default() };
    starts(r#"{"config":{"Cmd":["sh"],"Volumes":{"/../etc":{}}}}"#, &read_only, "Volumes \"/../etc\"");
}

#[test]
fn a_terminal_has_a_size_and_volumes_keep_mode_and_owner() {
    let image = ImageProcess::parse(br#"{"config":{"Cmd":["sh"],"Volumes":{"/vol":{},"/other":{}}}}"#).unwrap();
    let volumes = [("/vol".to_owned(), VolumeAttributes { mode: 0o750, uid: 7, gid: 8 })].into();
    let place = ContainerPlace { terminal_size: Some((33, 99)), volumes, ..place("") };
    let spec = |terminal, read_only| {
        let options = RunOptions { terminal, read_only, ..RunOptions::default() };
        serde_json::to_value(runtime_spec(&image, &options, &place).unwrap()).unwrap()
    };
    assert_eq!(spec(true, false)["process"]["consoleSize"], serde_json::json!({ "height": 33, "width": 99 }));
    assert!(spec(false, false)["process"].get("consoleSize").is_none());
    let options_of = |path: &str| {
        let spec = spec(false, true);
        let mount = spec["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == path).cloned();
        mount.unwrap()["options"].as_array().unwrap().iter().map(|o| o.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(options_of("/vol")[..3], ["mode=0750", "uid=7", "gid=8"]);
    assert_eq!(options_of("/other")[0], "rw");
    assert!(!spec(false, false)["mounts"].as_array().unwrap().iter().any(|mount| mount["destination"] == "/vol"));
}

#[test]
fn labels_of_an_image_are_no_annotations() {
    let image = r#"{"config":{"Cmd":["sh"],"Labels":{"run.oci.handler":"wasm","org.systemd.property.Slice":"'a'"}}}"#;
    let image = ImageProcess::parse(image.as_bytes()).unwrap();
    let spec = runtime_spec(&image, &RunOptions::default(), &place("")).unwrap();
    assert!(spec.annotations().as_ref().is_none_or(|annotations| annotations.is_empty()));
    assert!(!serde_json::to_string(&spec).unwrap().contains("run.oci"));
}

#[test]
fn mounts_of_the_user_replace_others() {
    let image = ImageProcess::parse(br#"{"config":{"Cmd":["sh"]}}"#).unwrap();
    let bind = |destination: &str| BindMount { source: "/x".into(), destination: destination.into(), options: vec![] };
    let options = RunOptions { binds: vec![bind("/a/b/c"), bind("/dev//shm"), bind("/a")], ..RunOptions::default() };
    let spec = runtime_spec(&image, &options, &place("")).unwrap();
    let mounts = spec.mounts().as_deref().unwrap();
    let at = |path: &str| mounts.iter().position(|mount| mount.destination() == Path::new(path)).unwrap();
    assert!(at("/a") < at("/a/b/c") && at("/dev") < at("/dev/shm"));
    assert_eq!(mounts[at("/dev/shm")].typ().as_deref(), Some("bind"));
    assert_eq!(mounts.iter().filter(|mount| mount.destination() == Path::new("/dev/shm")).count(), 1);
}
