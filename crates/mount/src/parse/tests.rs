use super::*;
use crate::flags::Atime;
use crate::path_or_fd::PathOrFd;

fn parsed(text: &str) -> Options {
    parse(OsStr::new(text), UnknownOptions::Refuse).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    match parse(OsStr::new(text), UnknownOptions::Refuse) {
        Ok(options) => panic!("{text} was taken: {options:?}"),
        Err(error) => error.to_string(),
    }
}

fn paths(names: &[&str]) -> Vec<PathOrFd> {
    names.iter().map(|name| PathOrFd::from(*name)).collect()
}

#[test]
fn basedir_is_a_list_in_order() {
    assert_eq!(parsed("basedir=a").basedirs, paths(&["a"]));
    assert_eq!(parsed("basedir=b:a:c").basedirs, paths(&["b", "a", "c"]));
    assert_eq!(parsed("basedir=a,basedir=b").basedirs, paths(&["b"]));
    assert_eq!(parsed("basedir=a=b").basedirs, paths(&["a=b"]));
    for empty in ["basedir=", "basedir=a:", "basedir=:a", "basedir=a::b"] {
        assert!(refused(empty).starts_with("Value for basedir option has incorrect format"), "{empty}");
    }
}

#[test]
fn backslashes_protect_in_values_only() {
    assert_eq!(parsed(r"basedir=a\,b").basedirs, paths(&["a,b"]));
    assert_eq!(parsed(r"basedir=a\:b:c").basedirs, paths(&["a:b", "c"]));
    assert_eq!(parsed(r"basedir=a\\b").basedirs, paths(&[r"a\b"]));
    assert_eq!(parsed(r"basedir=a\\:b").basedirs, paths(&[r"a\", "b"]));
    assert_eq!(refused(r"ba\sedir=a"), r"Unsupported option ba\sedir");
}

#[test]
fn values_may_stand_in_quotation_marks() {
    assert_eq!(parsed(r#"basedir="a,b",ro"#), parsed(r"basedir=a\,b,ro"));
    assert_eq!(parsed(r#"basedir="a:b,c""#).basedirs, paths(&["a", "b,c"]));
    assert_eq!(parsed(r#"basedir="a\:b\"c""#).basedirs, paths(&[r#"a:b"c"#]));
    assert_eq!(parsed(r#"basedir=a"b"#).basedirs, paths(&[r#"a"b"#]));
    assert_eq!(parsed(r#"basedir=\"a"#).basedirs, paths(&[r#""a"#]));
    let quoted =
        parsed(r#"basedir=a,upperdir="u,p",workdir="w",comment="x,y",x-z="1,foo",readahead="1M",verity_check="1""#);
    assert_eq!(quoted, parsed(r"basedir=a,upperdir=u\,p,workdir=w,readahead=1M,verity_check=1"));
    assert!(refused(r#"basedir="""#).starts_with("Value for basedir option has incorrect format"));
    for open in [r#"basedir="a"#, r#"basedir="a,b"#, r#"basedir="a"b"#, r#"basedir=a,upperdir="u,workdir=w"#] {
        assert!(refused(open).contains("no quotation mark ends the value"), "{open}");
    }
    assert_eq!(refused(r#"basedir=a,"ro""#), r#"Unsupported option "ro""#);
}

#[test]
fn basedir_is_needed() {
    for none in ["", "ro", "verity_check=0"] {
        assert!(refused(none).starts_with("No object dirs specified"), "{none}");
    }
}

#[test]
fn keys_with_a_value_need_one() {
    for key in ["basedir", "upperdir", "workdir", "idmap", "digest", "verity_check", "readahead"] {
        assert_eq!(refused(key), format!("No value specified for {key} option"));
    }
}

#[test]
fn keys_without_a_value_take_none() {
    for key in ["verity", "tryverity", "ro", "rw", "noatime", "nofail"] {
        assert_eq!(refused(&format!("basedir=a,{key}=1")), format!("Option {key} takes no value"));
        parsed(&format!("basedir=a,{key}"));
    }
}

#[test]
fn unknown_words_are_refused_or_passed_over_at_wish() {
    for word in ["foo", "foo=1", "noverity", "nosigned", "remount", "context=x"] {
        let key = word.split('=').next().unwrap();
        let text = format!("basedir=a,{word}");
        assert_eq!(refused(&text), format!("Unsupported option {key}"));
        assert_eq!(parse(OsStr::new(&text), UnknownOptions::Ignore).unwrap(), parsed("basedir=a"));
    }
    // Sloppy is about unknown words, not about wrong ones.
    assert!(parse(OsStr::new("basedir=a,digest=x"), UnknownOptions::Ignore).is_err());
}

#[test]
fn an_fstab_line_works() {
    let options = parsed("rw,noatime,nodev,nosuid,noexec,nofail,_netdev,x-systemd.automount,x-y=1,comment=z,basedir=a");
    assert!(options.nofail);
    assert_eq!(options.flags.to_string(), "rw,nosuid,nodev,noexec,noatime");
    assert_eq!(options.flags.atime, Atime::Never);
    assert!(!parsed("basedir=a").nofail);
    assert_eq!(parsed("defaults,,basedir=a,"), parsed("basedir=a"));
}

#[test]
fn the_last_of_ro_and_rw_counts() {
    assert!(!parsed("basedir=a").flags.read_only);
    assert!(parsed("basedir=a,rw,ro").flags.read_only);
    assert!(!parsed("basedir=a,ro,rw").flags.read_only);
}

#[test]
fn upper_and_work_go_together() {
    let upper = parsed(r"basedir=a,upperdir=u\,p,workdir=w:k").upper;
    assert_eq!(upper, Some(UpperDir { dir: "u,p".into(), work: "w:k".into() }));
    for half in ["basedir=a,upperdir=u", "basedir=a,workdir=w"] {
        assert_eq!(refused(half), "Both workdir and upperdir must be specified if used");
    }
    assert_eq!(parsed("basedir=a,idmap=/proc/1/ns/user").idmap, Some("/proc/1/ns/user".into()));
}

#[test]
fn a_signature_demands_all_files() {
    let options = parsed("basedir=a,signed");
    assert_eq!((options.is_signed(), options.verity()), (true, Verity::Require));
    assert_eq!(options, parsed("basedir=a,verity").with_signature());
    assert!(!parsed("basedir=a,verity").is_signed());
    assert!(refused("basedir=a,signed,verity_check=1").contains("Option signed verifies every file"));
    assert_eq!(refused("basedir=a,signed=x"), "Option signed takes no value");
}

#[test]
fn a_digest_is_whole_or_refused() {
    for hex in ["ab".repeat(32), "AB".repeat(32), "cd".repeat(64)] {
        let options = parsed(&format!("basedir=a,digest={hex}"));
        assert_eq!(options.digest().unwrap().to_hex(), hex.to_lowercase());
        assert_eq!(options.verity(), Verity::Require);
    }
    let long = "a".repeat(65);
    for bad in ["", "zz", &long[..63], &long, &format!("{}g", &long[..63]), &"a".repeat(127), &"a".repeat(129)] {
        let message = refused(&format!("basedir=a,digest={bad}"));
        assert!(message.starts_with("Invalid argument"), "{message}");
        assert!(message.contains("64"), "{message}");
    }
}

#[test]
fn verity_in_its_three_spellings() {
    for (text, verity) in [
        ("", Verity::Off),
        (",verity_check=0", Verity::Off),
        (",verity_check=1", Verity::Check),
        (",verity_check=2", Verity::Require),
        (",verity", Verity::Require),
        (",verity,verity_check=2", Verity::Require),
        (",tryverity", Verity::RequireIfSupported),
        (",tryverity,verity", Verity::Require),
        (",tryverity,verity_check=2", Verity::Require),
        (",verity_check=0,verity_check=2", Verity::Require),
    ] {
        assert_eq!(parsed(&format!("basedir=a{text}")).verity(), verity, "{text}");
    }
    for bad in ["3", "-1", "on", "", "02"] {
        assert!(refused(&format!("basedir=a,verity_check={bad}")).starts_with("Invalid argument"), "{bad}");
    }
}

#[test]
fn read_ahead_has_a_size_or_is_off() {
    assert_eq!(parsed("basedir=a").read_ahead, ReadAhead::default());
    assert_eq!(parsed("basedir=a,readahead=off").read_ahead, ReadAhead::OFF);
    assert_eq!(parsed("basedir=a,readahead=off,readahead=2M").read_ahead, ReadAhead::up_to(2 << 20));
    for bad in ["", "on", "-1", "1T", "64MiB"] {
        let message = refused(&format!("basedir=a,readahead={bad}"));
        assert!(message.starts_with("Invalid argument for readahead option: "), "{message}");
    }
}

#[test]
fn statfs_is_of_the_image_or_of_the_objects() {
    assert_eq!(parsed("basedir=a").statfs, StatfsSource::Image);
    assert_eq!(parsed("basedir=a,statfs=objects").statfs, StatfsSource::Objects);
    assert_eq!(parsed("basedir=a,statfs=objects,statfs=image").statfs, StatfsSource::Image);
    assert_eq!(refused("basedir=a,statfs"), "No value specified for statfs option");
    for bad in ["", "disk", "Objects"] {
        let message = refused(&format!("basedir=a,statfs={bad}"));
        assert!(message.ends_with("is not image or objects"), "{message}");
    }
}

#[test]
fn who_demands_all_cannot_ask_for_less() {
    let hex = "ab".repeat(32);
    for demand in ["verity".to_owned(), format!("digest={hex}"), "tryverity".to_owned()] {
        for check in [0, 1] {
            let message = refused(&format!("basedir=a,verity_check={check},{demand}"));
            assert!(message.contains(&format!("verity_check={check}")), "{message}");
        }
        assert_eq!(parsed(&format!("basedir=a,{demand},verity_check=2")).verity(), Verity::Require);
    }
}
