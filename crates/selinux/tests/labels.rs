//! The rules by which labels are found, and the limits of a hostile policy.

use std::convert::Infallible;

use libcomposefs_image::tree::Kind;
use libcomposefs_selinux::{Contexts, FILE_MAX, LabelError, Labels, LineRule, PolicyFile, PolicyFiles};

fn files(contexts: &[&str], substitutions: &[&str]) -> PolicyFiles {
    let file =
        |(index, text): (usize, &&str)| PolicyFile { path: format!("file{index}"), content: text.as_bytes().to_vec() };
    PolicyFiles {
        contexts: contexts.iter().enumerate().map(file).collect(),
        substitutions: substitutions.iter().enumerate().map(file).collect(),
    }
}

fn label(files: &PolicyFiles, path: impl AsRef<[u8]>, kind: Kind) -> Option<String> {
    let contexts = Contexts::compile(files).unwrap();
    let found = Labels::new(&contexts).label(path.as_ref(), kind).unwrap();
    found.map(|found| String::from_utf8(found.to_vec()).unwrap())
}

fn refusal(text: &str) -> LabelError {
    Contexts::compile(&files(&[text], &[])).unwrap_err()
}

#[test]
fn the_last_rule_that_matches_counts() {
    let policy =
        files(&["/.* all\n/usr(/.*)? usr\n/usr/bin/su -- su\n/usr/bin(/.*)? bin\n", "/usr/lib -d local\n"], &[]);
    for (path, kind, expected) in [
        ("/", Kind::Directory, "all"),
        ("/usr", Kind::Directory, "usr"),
        ("/usr/bin/su", Kind::Regular, "bin"),
        ("/usr/lib", Kind::Directory, "local"),
        ("/usr/lib", Kind::Symlink, "usr"),
        ("/a\nb", Kind::Fifo, "all"),
    ] {
        assert_eq!(label(&policy, path, kind).as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn paths_are_bytes() {
    let policy = files(&["/.* all\n/.. two\n/(?!x). one\n"], &[]);
    assert_eq!(label(&policy, b"/\xff\xfe", Kind::Regular).as_deref(), Some("two"));
    assert_eq!(label(&policy, b"/\xff", Kind::Regular).as_deref(), Some("one"));
    assert_eq!(label(&policy, b"/x", Kind::Regular).as_deref(), Some("all"));
}

#[test]
fn no_label_is_a_label_too() {
    let policy = files(&["/usr(/.*)? usr\n/usr/lib <<none>>\n"], &[]);
    assert_eq!(label(&policy, "/usr/lib", Kind::Directory), None);
    assert_eq!(label(&policy, "/usr/lib/x", Kind::Regular).as_deref(), Some("usr"));
    assert_eq!(label(&policy, "/etc", Kind::Directory), None);
}

#[test]
fn aliases_are_looked_up_on_the_way_down() {
    let rules = "/.* all\n/usr/lib(/.*)? lib\n/home/u/f f\n/b(/.*)? b\n/c(/.*)? c\n";
    let policy = files(&[rules], &["/usr/lib64 /usr/lib\n/a /b\n/b /c\n", "/var/home /home\n"]);
    for (path, expected) in [
        ("/usr/lib64", "lib"),
        ("/usr/lib64/x/y", "lib"),
        ("/usr/lib64x", "all"),
        ("/var/home/u/f", "f"),
        // Once only: the original is no alias again.
        ("/a/x", "b"),
        ("/b/x", "c"),
    ] {
        assert_eq!(label(&policy, path, Kind::Directory).as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn malformed_lines_are_named() {
    let of = |text: &str| match refusal(text) {
        LabelError::Line { path, line, rule } => (path, line, rule),
        other => panic!("{other}"),
    };
    assert_eq!(of("# x\n\n/.* -- a b\n"), ("file0".to_owned(), 3, LineRule::Fields { found: 4 }));
    assert_eq!(of("/.* -x a"), ("file0".to_owned(), 1, LineRule::Type { found: "-x".to_owned() }));
    assert!(matches!(of("/.*( a"), (_, 1, LineRule::Pattern { .. })));
    let mut bytes = files(&[""], &[]);
    bytes.contexts[0].content = b"/ a\n\xff b\n".to_vec();
    let error = Contexts::compile(&bytes).unwrap_err();
    assert!(matches!(error, LabelError::Line { line: 2, rule: LineRule::NotText, .. }), "{error}");
    let error = Contexts::compile(&files(&["/ a"], &["/a\n"])).unwrap_err();
    assert!(matches!(error, LabelError::Line { rule: LineRule::Substitution { found: 1 }, .. }), "{error}");
}

/// Patterns whose automaton or search would be endless are refused, before and while paths are matched.
#[test]
fn hostile_patterns_are_bounded() {
    let nested = format!("{}a{}", "(".repeat(20_000), ")".repeat(20_000));
    for pattern in ["/(((a{1000}){1000}){1000}){1000}".to_owned(), format!("/{nested}"), format!("/(?!{nested})")] {
        let error = refusal(&format!("{pattern} a\n"));
        let is_bounded = matches!(error, LabelError::TooComplex { .. } | LabelError::Line { .. });
        assert!(is_bounded, "{}", error.to_string().get(..200).unwrap_or_default());
    }
    let backtracking = files(&["/(?=(a+)+$)(a+)+b a\n"], &[]);
    let contexts = Contexts::compile(&backtracking).unwrap();
    let long = format!("/{}", "a".repeat(60));
    let found = Labels::new(&contexts).label(long.as_bytes(), Kind::Regular);
    assert!(matches!(found, Ok(None) | Err(LabelError::GaveUp { .. })), "{found:?}");
    let many = "/(?!x).* a\n".repeat(300);
    assert!(refusal(&many).to_string().contains("256"));
    assert!(matches!(refusal(&"/x a\n".repeat(100_001)), LabelError::TooManyRules { .. }));
    assert_eq!(Contexts::compile(&files(&[&"/x a\n".repeat(1000)], &[])).unwrap().rule_count(), 1000);
}

fn find(files: &[(&str, &str)]) -> Result<Option<PolicyFiles>, LabelError> {
    let read = |path: &str| {
        let found = files.iter().find(|(name, _)| format!("/etc/selinux/{name}") == path);
        Ok::<_, Infallible>(found.map(|(_, text)| text.as_bytes().to_vec()))
    };
    PolicyFiles::find(read)
}

#[test]
fn the_configuration_names_the_policy() {
    let contexts = "my/contexts/files/file_contexts";
    for config in ["SELINUXTYPE=my\n", "# c\nSELINUX=off\n  SelinuxType =  my \nSELINUXTYPE=other"] {
        let found = find(&[("config", config), (contexts, "/ a"), ("my/contexts/files/file_contexts.subs", "/a /b")]);
        let found = found.unwrap().unwrap();
        assert_eq!((found.contexts.len(), found.substitutions.len()), (1, 1), "{config}");
    }
    assert_eq!(find(&[]).unwrap(), None);
    assert_eq!(find(&[("config", "SELINUX=disabled\n"), (contexts, "/ a")]).unwrap(), None);
    assert!(matches!(find(&[("config", "SELINUXTYPE=my\n")]), Err(LabelError::NoPolicy { .. })));
    for name in ["..", "a/b", "", "a\0"] {
        assert!(
            matches!(find(&[("config", &format!("SELINUXTYPE={name}\n"))]), Err(LabelError::Name { .. })),
            "{name}"
        );
    }
    let large = "x".repeat(FILE_MAX as usize + 1);
    assert!(matches!(find(&[("config", &large)]), Err(LabelError::TooLarge { .. })));
}
