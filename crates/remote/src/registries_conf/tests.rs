use super::*;
use crate::reference::Reference;

const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn conf(text: &str) -> RegistriesConf {
    let mut conf = RegistriesConf::default();
    conf.add(text, Path::new("test.conf")).unwrap_or_else(|error| panic!("{error}"));
    conf
}

/// The endpoints of a reference as texts; `!` marks insecure ones, `~` mirrors.
fn endpoints(conf: &RegistriesConf, reference: &str) -> Vec<String> {
    let reference: Reference = reference.parse().expect("a reference");
    let endpoints = conf.endpoints(&reference).unwrap_or_else(|error| panic!("{error}"));
    let mark = |is_marked: bool, mark: &'static str| if is_marked { mark } else { "" };
    endpoints.iter().map(|one| format!("{}{}{one}", mark(one.is_mirror, "~"), mark(one.is_insecure, "!"))).collect()
}

const MIRRORS: &str = r#"
[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "mirror.x:5000/hub"
insecure = true
[[registry.mirror]]
location = "digests.x"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tags.x/"
pull-from-mirror = "tag-only"

[[registry]]
prefix = "docker.io/library/blocked"
location = "docker.io/library/blocked"
blocked = true

[[registry]]
prefix = "a.x/one"
location = "b.x/two/three"
insecure = true
mirror-by-digest-only = true
[[registry.mirror]]
location = "c.x"
"#;

#[test]
fn mirrors_come_in_their_order_before_the_registry() {
    let conf = conf(MIRRORS);
    let by_tag = ["~!mirror.x:5000/hub/library/debian", "~tags.x/library/debian", "docker.io/library/debian"];
    assert_eq!(endpoints(&conf, "debian:13"), by_tag);
    let by_digest = ["~!mirror.x:5000/hub/library/debian", "~digests.x/library/debian", "docker.io/library/debian"];
    assert_eq!(endpoints(&conf, &format!("debian@{HEX}")), by_digest);
    assert_eq!(endpoints(&conf, "other.x/a"), ["other.x/a"]);
    assert_eq!(endpoints(&conf, "a.x/one/four"), ["!b.x/two/three/four"]);
    assert_eq!(endpoints(&conf, "a.x/one:tag"), ["!b.x/two/three"]);
    assert_eq!(endpoints(&conf, "a.x/one-two"), ["a.x/one-two"]);
    assert_eq!(endpoints(&conf, &format!("a.x/one/four:1@{HEX}")), ["~c.x/four", "!b.x/two/three/four"]);
}

#[test]
fn blocked_prefixes_are_refused_by_name() {
    let conf = conf(MIRRORS);
    let blocked: Reference = "blocked:1".parse().expect("a reference");
    let message = conf.endpoints(&blocked).expect_err("a blocked name").to_string();
    assert!(message.contains("docker.io/library/blocked") && message.contains("test.conf"), "{message}");
    assert!(conf.push_endpoint(&blocked).is_err());
    let other: Reference = "blocked-not:1".parse().expect("a reference");
    assert_eq!(conf.push_endpoint(&other).expect("an endpoint").to_string(), "docker.io/library/blocked-not");
}

#[test]
fn wildcards_match_subdomains() {
    let mut conf = conf("[[registry]]\nprefix = \"*.x.org\"\ninsecure = true\n");
    for name in ["a.x.org/r", "a.b.x.org/r", "a.x.org:5000/r"] {
        assert_eq!(endpoints(&conf, name), [format!("!{name}")]);
    }
    for name in ["x.org/r", "ax.org/r", "a.x.org.y/r", "y.z/a.x.org/r"] {
        assert_eq!(endpoints(&conf, name), [name]);
    }
    let exact = "[[registry]]\nlocation = \"a.x.org\"\n[[registry]]\nprefix = \"*.y.org\"\nlocation = \"z.org/all\"\n";
    conf.add(exact, Path::new("second.conf")).expect("a valid file");
    assert_eq!(endpoints(&conf, "a.x.org/r"), ["a.x.org/r"]);
    assert_eq!(endpoints(&conf, "b.x.org/r"), ["!b.x.org/r"]);
    assert_eq!(endpoints(&conf, "b.y.org/r"), ["z.org/all/r"]);
}

#[test]
fn later_files_replace_rules_and_aliases() {
    let mut conf =
        conf("[[registry]]\nlocation = \"a.x\"\nblocked = true\n[aliases]\n\"one\" = \"h.x/1\"\n\"two\" = \"h.x/2\"");
    conf.add("[[registry]]\nlocation = \"a.x\"\n[aliases]\none = \"\"\nthree = \"h.x/3\"", Path::new("b"))
        .expect("valid");
    assert_eq!(endpoints(&conf, "a.x/r"), ["a.x/r"]);
    let first = |name: &str| conf.candidates(name).expect("a candidate")[0].to_string();
    assert_eq!(first("one"), "docker.io/library/one:latest");
    assert_eq!(first("two:5"), "h.x/2:5");
    assert_eq!(first(&format!("three@{HEX}")), format!("h.x/3@{HEX}"));
    assert_eq!(first("h.y/three"), "h.y/three:latest");
}

#[test]
fn short_names_search_registries() {
    let search = "unqualified-search-registries = [\"a.x\", \"b.x/\", \"docker.io\"]\n";
    let names = |conf: &RegistriesConf| match conf.candidates("n/m:1") {
        Ok(found) => found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    };
    let mut conf = conf(search);
    assert_eq!(names(&conf), "a.x/n/m:1 b.x/n/m:1 docker.io/n/m:1");
    conf.add("short-name-mode = \"enforcing\"", Path::new("b")).expect("valid");
    assert!(names(&conf).contains("a.x/n/m:1 or b.x/n/m:1"), "{}", names(&conf));
    conf.add("unqualified-search-registries = [\"c.x\"]", Path::new("c")).expect("valid");
    assert_eq!(names(&conf), "c.x/n/m:1");
    conf.add("unqualified-search-registries = []", Path::new("d")).expect("valid");
    assert!(names(&conf).contains("unqualified-search-registries is empty"), "{}", names(&conf));
    conf.add("[aliases]\n\"n/m\" = \"d.x/m\"", Path::new("e")).expect("valid");
    assert_eq!(names(&conf), "d.x/m:1");
}

#[test]
fn bad_files_are_refused_by_name_and_place() {
    let reason = |text: &str| {
        let error = RegistriesConf::default().add(text, Path::new("bad.conf")).expect_err("a bad file").to_string();
        assert!(error.contains("bad.conf"), "{error}");
        error
    };
    assert!(reason("[registries.search]\nregistries = [\"a.x\"]").contains("version 1"));
    assert!(reason("a = [").contains("line 1"));
    assert!(reason("[[registry]]\nblocked = true").contains("neither prefix nor location"));
    assert!(reason("[[registry]]\nprefix = \"a.x\"").contains("no location"));
    assert!(reason("[[registry]]\nlocation = \"https://a.x\"").contains("without a scheme"));
    assert!(reason("[[registry]]\nprefix = \"*.a.x/b\"").contains("wildcard"));
    assert!(reason("[[registry]]\nprefix = \"a.*.x\"\nlocation=\"a.x\"").contains("wildcard"));
    assert!(reason("short-name-mode = \"strict\"").contains("enforcing"));
    let mirror = "[[registry]]\nlocation = \"a.x\"\n%[[registry.mirror]]\nlocation = \"b.x\"\npull-from-mirror = \"&\"";
    assert!(reason(&mirror.replace('%', "").replace('&', "some")).contains("digest-only or tag-only"));
    let both = mirror.replace('%', "mirror-by-digest-only = true\n").replace('&', "all");
    assert!(reason(&both).contains("together"));
}

#[test]
fn a_location_that_makes_no_name_is_an_error() {
    let conf = conf("[[registry]]\nprefix = \"a.x/r\"\nlocation = \"b.x\"");
    let message = conf.endpoints(&"a.x/r".parse().expect("a reference")).expect_err("no path").to_string();
    assert!(message.contains("\"b.x\"") && message.contains("test.conf"), "{message}");
    assert_eq!(endpoints(&conf, "a.x/r/s"), ["b.x/s"]);
}

#[test]
fn files_are_loaded_in_their_order() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("etc/containers/registries.conf.d");
    fs::create_dir_all(&dir).expect("a directory");
    fs::write(dir.join("../registries.conf"), "unqualified-search-registries = [\"a.x\"]").expect("a file");
    fs::write(dir.join("2.conf"), "unqualified-search-registries = [\"c.x\"]").expect("a file");
    fs::write(dir.join("1.conf"), "unqualified-search-registries = [\"b.x\"]").expect("a file");
    fs::write(dir.join("3.disabled"), "not TOML").expect("a file");
    let locations = Locations { root: Some(root.path().to_owned()), ..Locations::default() };
    let conf = RegistriesConf::load(&locations).expect("valid files");
    assert_eq!(conf.candidates("n").expect("a candidate")[0].to_string(), "c.x/n:latest");
    fs::write(dir.join("4.conf"), "not TOML").expect("a file");
    assert!(RegistriesConf::load(&locations).is_err());
    let nothing = Locations { root: Some(dir), ..Locations::default() };
    assert_eq!(RegistriesConf::load(&nothing).expect("no file"), RegistriesConf::default());
}
