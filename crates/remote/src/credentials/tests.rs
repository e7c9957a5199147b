use std::fs;

use super::*;

/// Installs a script. Another process writes the file: a file that this one has open for writing cannot be executed,
/// and a child that another test starts at this moment would have it open as well.
pub(super) fn install(dir: &Path, name: &str, script: &str) {
    let text = dir.join(format!("{name}.text"));
    fs::write(&text, format!("#!/bin/sh\n{script}\n")).expect("a script");
    let installed = std::process::Command::new("install").arg("-m755").arg(text).arg(dir.join(name)).status();
    assert!(installed.expect("install runs").success());
}

fn basic(user: &str, password: &str) -> Option<Credentials> {
    Some(Credentials::Basic { user: user.to_owned(), password: password.to_owned() })
}

/// Looks up in one file with this text.
fn in_text(text: &str, host: &str, path: &str) -> Result<Option<Credentials>, CredentialsError> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("auth.json");
    fs::write(&file, text).expect("a file");
    let locations = Locations { auth_file: Some(file), ..Locations::default() };
    find(&locations, host, path).map(|search| search.credentials)
}

// base64 of u:1, u:2, u:3.
const KEYS: &str = r#"{"auths": {
    "h.x": {"auth": "dTox"}, "h.x/a": {"auth": "dToy"}, "h.x/a/b": {"auth": "dToz"},
    "https://index.docker.io/v1/": {"auth": "dTox"}, "https://url.x/v2/": {"auth": "dToy"},
    "empty.x": {}, "token.x": {"identitytoken": "t", "auth": "dTox"}, "bad.x": {"auth": "dQ=="},
    "plain.x": {"username": "u", "password": "p:q"}, "h.y/only": {"auth": "dTox"}}}"#;

#[test]
fn the_longest_key_is_used() {
    let password = |host: &str, path: &str| match in_text(KEYS, host, path).expect("a valid file") {
        Some(Credentials::Basic { password, .. }) => password,
        Some(Credentials::IdentityToken(token)) => token,
        None => "none".to_owned(),
    };
    assert_eq!(password("h.x", ""), "1");
    assert_eq!(password("h.x", "c"), "1");
    assert_eq!(password("h.x", "ab"), "1");
    assert_eq!(password("h.x", "a"), "2");
    assert_eq!(password("h.x", "a/c/d"), "2");
    assert_eq!(password("h.x", "a/b/c"), "3");
    assert_eq!(password("docker.io", "library/debian"), "1");
    assert_eq!(password("url.x", "a"), "2");
    assert_eq!(password("h.y", "other"), "none");
    assert_eq!(password("h.y", "only"), "1");
    assert_eq!(password("empty.x", "a"), "none");
    assert_eq!(password("token.x", "a"), "t");
    assert_eq!(password("plain.x", "a"), "p:q");
}

#[test]
fn bad_files_name_the_file_and_no_secret() {
    let message = |text: &str| {
        let message = in_text(text, "bad.x", "a").expect_err("a bad file").to_string();
        assert!(message.contains("auth.json"), "{message}");
        message
    };
    assert!(message(KEYS).contains("\"bad.x\" has no colon"));
    assert!(message("{\"auths\": {\"bad.x\": {\"auth\": \"%\"}}}").contains("not base64"));
    assert!(message("{\"auths\": \"secret\"}").contains("wrong type"));
    assert!(message("secret").contains("not JSON"));
    assert!(!message("{\"auths\": \"secret\"}").contains("secret"));
    assert!(message(&" ".repeat(1 << 21)).contains("bytes"));
}

#[test]
fn the_first_file_with_credentials_is_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name);
    for name in ["run/containers", "config/containers", "home/.docker"] {
        fs::create_dir_all(path(name)).expect("a directory");
    }
    fs::write(path("run/containers/auth.json"), r#"{"auths": {"a.x": {"auth": "dTox"}}}"#).expect("a file");
    fs::write(path("config/containers/auth.json"), r#"{"auths": {"a.x": {"auth": "dToy"}, "b.x": {"auth": "dToy"}}}"#)
        .expect("a file");
    fs::write(path("home/.dockercfg"), r#"{"c.x": {"auth": "dToz"}}"#).expect("a file");
    let (runtime_dir, config_home) = (Some(path("run")), Some(path("config")));
    let locations = Locations { runtime_dir, config_home, home: Some(path("home")), ..Locations::default() };
    let found = |host: &str| find(&locations, host, "r").expect("valid files");
    assert_eq!((found("a.x").credentials, found("a.x").searched.len()), (basic("u", "1"), 1));
    assert_eq!((found("b.x").credentials, found("b.x").searched.len()), (basic("u", "2"), 2));
    assert_eq!((found("c.x").credentials, found("c.x").searched.len()), (basic("u", "3"), 4));
    assert_eq!((found("d.x").credentials, found("d.x").searched.len()), (None, 4));
}

#[test]
fn a_file_that_was_named_must_exist() {
    let locations = Locations { auth_file: Some("/nonexistent/auth.json".into()), ..Locations::default() };
    let message = find(&locations, "a.x", "").expect_err("a missing file").to_string();
    assert!(message.contains("/nonexistent/auth.json"), "{message}");
}

#[test]
fn helpers_of_the_host_then_entries_then_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["one", "all"] {
        let script = format!("echo '{{\"Username\":\"{name}\",\"Secret\":\"s\"}}'");
        install(dir.path(), &format!("docker-credential-{name}"), &script);
    }
    let file = dir.path().join("auth.json");
    let text = r#"{"auths": {"one.x": {"auth": "dTox"}, "two.x": {"auth": "dTox"}, "three.x": {}},
        "credHelpers": {"one.x": "one", "bad.x": "missing"}, "credsStore": "all"}"#;
    fs::write(&file, text).expect("a file");
    let program_dirs = vec![dir.path().to_owned()];
    let locations = Locations { auth_file: Some(file), program_dirs, ..Locations::default() };
    let found = |host: &str| find(&locations, host, "r").map(|search| search.credentials);
    assert_eq!(found("one.x").expect("a helper"), basic("one", "s"));
    assert_eq!(found("two.x").expect("an entry"), basic("u", "1"));
    assert_eq!(found("three.x").expect("the store"), basic("all", "s"));
    assert_eq!(found("four.x").expect("the store"), basic("all", "s"));
    let message = found("bad.x").expect_err("no program").to_string();
    assert!(message.contains("docker-credential-missing") && message.contains("auth.json"), "{message}");
}

#[test]
fn secrets_are_not_printed() {
    let printed = format!("{:?} {:?}", basic("user", "hidden"), Credentials::IdentityToken("hidden".to_owned()));
    assert!(printed.contains("user") && !printed.contains("hidden"), "{printed}");
}

#[test]
fn a_named_file_is_checked_before_it_is_needed() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("auth.json");
    let check = |host: &str| {
        let locations = Locations { auth_file: Some(file.clone()), ..Locations::default() };
        check_named_file(&locations, host, "a").map_err(|error| error.to_string())
    };
    let path = file.display().to_string();
    assert!(check("h.x").expect_err("it is missing").contains(&path));
    fs::write(&file, r#"{"auths": {"h.x": {"auth": "%%"}, "good.x": {"auth": "dTox"}}}"#).expect("a file");
    let error = check("h.x").expect_err("it is no base64");
    assert!(error.contains(&path) && error.contains("h.x") && !error.contains("%%"), "{error}");
    for host in ["good.x", "other.x"] {
        check(host).expect("its entry is right");
    }
    // Files of the default places may be missing.
    let home = Locations { home: Some(dir.path().join("home")), root: Some(dir.path().into()), ..Locations::default() };
    check_named_file(&home, "h.x", "a").expect("no file is named");
}
