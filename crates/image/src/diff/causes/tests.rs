//! Tests of the causes and hints found between a tree and the same tree after a known change (times set or clamped, a
//! umask, lost hard links).

use super::{Cause, CauseSubject, Hint, causes};
use crate::Algorithm;
use crate::diff::{Field, FieldValue, Options, Side, diff};
use crate::dump::{self, Parser};
use crate::tree::{Kind, Timestamp, Tree};

/// A line of a dump, in the fields that matter here.
#[derive(Clone, Debug)]
struct Line {
    path: String,
    mode: &'static str,
    uid: u32,
    mtime: String,
    rest: String,
}

fn tree(lines: &[Line]) -> Tree {
    let mut parser = Parser::new(dump::Options { algorithm: Algorithm::Sha256, strict: false });
    for Line { path, mode, uid, mtime, rest } in lines {
        let (size, rest) = rest.split_once(' ').unwrap();
        parser.push_line(format!("{path} {size} {mode} 1 {uid} 0 0 {mtime} {rest}").as_bytes()).unwrap();
    }
    parser.finish().unwrap().tree
}

fn line(path: &str, mode: &'static str, sec: u32, rest: &str) -> Line {
    Line { path: path.to_owned(), mode, uid: 1000, mtime: format!("{sec}.5"), rest: rest.to_owned() }
}

/// Two directories and three files, all of different times.
fn lines() -> Vec<Line> {
    vec![
        line("/", "40755", 100, "0 - - -"),
        line("/dir", "40755", 200, "0 - - -"),
        line("/dir/a", "100644", 300, "3 - abc - user.a=1 security.selinux=label"),
        line("/dir/b", "100644", 400, "3 - bcd - security.selinux=label"),
        line("/dir/c", "100664", 500, "3 - cde -"),
    ]
}

/// The one cause there is after a change of all lines.
fn only_cause(change: impl Fn(&mut Line)) -> (CauseSubject, usize, Vec<Hint>) {
    let mut changed = lines();
    changed.iter_mut().for_each(change);
    let mut found =
        all_causes(&lines(), &changed, |cause| (cause.subject.clone(), cause.changes.len(), cause.hints.clone()));
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn all_causes<T>(a: &[Line], b: &[Line], view: impl Fn(&Cause<'_>) -> T) -> Vec<T> {
    let (a, b) = (tree(a), tree(b));
    causes(&diff(&a, &b, &Options::default())).iter().map(view).collect()
}

const MTIME: CauseSubject = CauseSubject::Field(Field::Mtime);

#[test]
fn what_was_done_to_times_is_told() {
    let epoch = only_cause(|line| line.mtime = "0.0".to_owned());
    assert_eq!(epoch, (MTIME, 5, vec![Hint::Epoch(Side::B)]));
    let one = only_cause(|line| line.mtime = "7.0".to_owned());
    assert_eq!(one, (MTIME, 5, vec![Hint::OneMtime(Side::B, Timestamp { sec: 7, nsec: 0 })]));
    let clamped = only_cause(|line| {
        if matches!(&line.mtime[..], "400.5" | "500.5") {
            line.mtime = "350.0".to_owned();
        }
    });
    assert_eq!(clamped, (MTIME, 2, vec![Hint::Clamped(Side::B, Timestamp { sec: 350, nsec: 0 })]));
    // An earlier time is not made later by a clamp.
    let set = only_cause(|line| {
        if line.path.starts_with("/dir/") {
            line.mtime = "350.0".to_owned();
        }
    });
    assert_eq!(set, (MTIME, 3, vec![]));
    let whole = only_cause(|line| line.mtime = line.mtime.replace(".5", ".0"));
    assert_eq!(whole, (MTIME, 5, vec![Hint::WholeSeconds(Side::B)]));
    let shifted = only_cause(|line| line.mtime = format!("3{}", line.mtime));
    assert_eq!(shifted, (MTIME, 5, vec![Hint::Shifted(3000)]));
    let directories = only_cause(|line| match &line.path[..] {
        "/" => line.mtime = "1.1".to_owned(),
        "/dir" => line.mtime = "2.2".to_owned(),
        _ => {}
    });
    assert_eq!(directories, (MTIME, 2, vec![Hint::DirectoriesOnly]));
    let unexplained = only_cause(|line| match &line.path[..] {
        "/dir/a" => line.mtime = "1.1".to_owned(),
        "/dir/b" => line.mtime = "444444.2".to_owned(),
        _ => {}
    });
    assert_eq!(unexplained, (MTIME, 2, vec![]));
}

#[test]
fn what_all_of_a_group_share_is_told() {
    let mut changed = lines();
    for line in &mut changed[..2] {
        line.uid = 0;
    }
    let view = |cause: &Cause<'_>| {
        let values = [&cause.old, &cause.new].map(|value| match value {
            Some(FieldValue::Number(number)) => Some(*number),
            _ => None,
        });
        (cause.kind, cause.is_whole_kind, cause.of, values, cause.hints.clone())
    };
    let found = all_causes(&lines(), &changed, view);
    let expected = vec![Hint::OneUid(Side::A, 1000)];
    assert_eq!(found, [(Some(Kind::Directory), true, 5, [Some(1000), Some(0)], expected)]);
    changed[2].uid = 1;
    let found = all_causes(&lines(), &changed, view);
    assert_eq!(found, [(None, false, 5, [Some(1000), None], vec![Hint::OneUid(Side::A, 1000)])]);
}

#[test]
fn modes_under_a_umask_are_told() {
    let (subject, count, hints) = only_cause(|line| {
        line.mode = match line.mode {
            "40755" => "40700",
            "100644" => "100600",
            _ => "100600",
        }
    });
    assert_eq!((subject, count, hints), (CauseSubject::Field(Field::Mode), 5, vec![Hint::Masked(Side::B, 0o075)]));
    let other = only_cause(|line| line.mode = if line.mode == "40755" { "40722" } else { line.mode });
    assert_eq!(other, (CauseSubject::Field(Field::Mode), 2, vec![]));
}

#[test]
fn attributes_are_told_by_name() {
    let drop_attributes = |which: &'static str| {
        let mut changed = lines();
        for line in &mut changed {
            let words: Vec<_> = line.rest.split(' ').filter(|word| !word.starts_with(which)).collect();
            line.rest = words.join(" ");
        }
        changed
    };
    let view = |cause: &Cause<'_>| (cause.subject.clone(), cause.changes.clone(), cause.hints.clone());
    let only_a = |name: &str| CauseSubject::XattrOnly(Side::A, name.into());
    let mut none = lines();
    none.iter_mut().for_each(|line| line.rest = line.rest.split(' ').take(4).collect::<Vec<_>>().join(" "));
    assert_eq!(
        all_causes(&lines(), &none, view),
        [
            (only_a("security.selinux"), vec![0, 1], vec![Hint::NoXattrs(Side::B)]),
            (only_a("user.a"), vec![0], vec![Hint::NoXattrs(Side::B)]),
        ]
    );
    let found = all_causes(&lines(), &drop_attributes("security."), view);
    assert_eq!(found, [(only_a("security.selinux"), vec![0, 1], vec![Hint::UserXattrs(Side::B)])]);
    let mut changed = lines();
    changed[2].rest = changed[2].rest.replace("a=1", "a=2").replace("=label", "=other");
    let found = all_causes(&lines(), &changed, view);
    let value = |name: &str| CauseSubject::XattrValue(name.into());
    assert_eq!(
        found,
        [(value("security.selinux"), vec![0], vec![Hint::SecurityLabel]), (value("user.a"), vec![0], vec![])]
    );
}

#[test]
fn lost_hard_links_devices_and_names_are_told() {
    let mut linked = lines();
    linked[3].rest = "0 /dir/a - -".to_owned();
    linked[3].mode = "@100644";
    let mut single = lines();
    single[3] = Line { path: "/dir/b".to_owned(), ..lines()[2].clone() };
    let view = |cause: &Cause<'_>| (cause.subject.clone(), cause.changes.len(), cause.hints.clone());
    let links = CauseSubject::Field(Field::Links);
    assert_eq!(all_causes(&linked, &single, view), [(links.clone(), 2, vec![Hint::NoHardlinks(Side::B)])]);
    assert_eq!(all_causes(&single, &linked, view), [(links, 2, vec![Hint::NoHardlinks(Side::A)])]);

    let mut more = lines();
    more.push(line("/null", "20666", 100, "0 - - -"));
    assert_eq!(all_causes(&lines(), &more, view), [(CauseSubject::Only(Side::B), 1, vec![Hint::NoDevices(Side::A)])]);

    let mut renamed = lines();
    renamed[4].path = "/dir/new".to_owned();
    let moved = || vec![Hint::Moved(1)];
    let only = |side| (CauseSubject::Only(side), 1, moved());
    assert_eq!(all_causes(&lines(), &renamed, view), [only(Side::A), only(Side::B)]);
}

#[test]
fn nothing_explains_trees_that_are_equal() {
    assert!(all_causes(&lines(), &lines(), |_| ()).is_empty());
}
