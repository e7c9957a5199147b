//! Writes the report as text: the causes, with the paths of each.

use std::io::{self, Write};

use libcomposefs_image::diff::causes::{Cause, CauseSubject};
use libcomposefs_image::diff::{Change, Side};

use super::compare::TreeComparison;
use super::facts::Fact;
use super::labels;
use crate::input::InputKind;
use crate::inspect::mode;
use crate::output;

/// Escape sequences for a terminal; empty without one.
#[derive(Clone, Copy)]
struct TerminalMarks {
    bold: &'static str,
    dim: &'static str,
    end: &'static str,
}

impl TerminalMarks {
    fn choose() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match output::is_terminal() && !plain {
            true => Self { bold: "\x1b[1m", dim: "\x1b[2m", end: "\x1b[0m" },
            false => Self { bold: "", dim: "", end: "" },
        }
    }
}

/// Writes the whole report to `out`.
pub(in crate::commands) fn write(comparison: &TreeComparison<'_>, out: &mut impl Write) -> io::Result<()> {
    let marks = TerminalMarks::choose();
    for side in [Side::A, Side::B] {
        writeln!(out, "{}", describe(comparison, side))?;
    }
    writeln!(out)?;
    write_facts(comparison, marks, Fact::is_cause, out)?;
    write_incomparable(comparison, marks, out)?;
    for cause in &comparison.causes {
        writeln!(out, "{}{}{}", marks.bold, labels::cause(cause), marks.end)?;
        for hint in &cause.hints {
            writeln!(out, "{}    {}{}", marks.dim, labels::hint(hint), marks.end)?;
        }
    }
    write_facts(comparison, marks, |fact| !fact.is_cause(), out)?;
    if comparison.request.limit > 0 {
        for cause in &comparison.causes {
            writeln!(out, "\n{}{}:{}", marks.bold, labels::cause(cause), marks.end)?;
            write_paths(comparison, cause, out)?;
        }
    }
    Ok(())
}

fn describe(comparison: &TreeComparison<'_>, side: Side) -> String {
    let loaded = comparison.side(side);
    let form = match (loaded.form, &loaded.facts) {
        (_, Some(facts)) => format!("image of version {}", facts.version),
        (InputKind::Directory, None) => "directory".to_owned(),
        (InputKind::Source, None) => "OCI image".to_owned(),
        (_, None) => "dump".to_owned(),
    };
    let path = labels::path(comparison.request.paths[side as usize].as_os_str().as_encoded_bytes());
    let entries = labels::number(loaded.tree.entry_count() + 1);
    format!("{}: {path} ({form}, {entries} entries)", labels::letter(side))
}

fn write_facts(
    comparison: &TreeComparison<'_>,
    marks: TerminalMarks,
    wanted: impl Fn(Fact) -> bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let TerminalMarks { bold, end, .. } = marks;
    let facts = [Side::A, Side::B].map(|side| &comparison.side(side).facts);
    let [Some(of_a), Some(of_b)] = facts else { return Ok(()) };
    for fact in comparison.facts.iter().filter(|fact| wanted(**fact)) {
        let (a, b) = (fact.of(of_a), fact.of(of_b));
        match fact {
            Fact::Version => writeln!(out, "{bold}A is version {a}, B version {b}{end}")?,
            fact => writeln!(out, "{bold}the images differ in {}: {a} -> {b}{end}", fact.name())?,
        }
    }
    Ok(())
}

fn write_incomparable(comparison: &TreeComparison<'_>, marks: TerminalMarks, out: &mut impl Write) -> io::Result<()> {
    let incomparable = comparison.incomparable();
    if incomparable == 0 {
        return Ok(());
    }
    let TerminalMarks { bold, end, .. } = marks;
    let [a, b] = [Side::A, Side::B].map(|side| comparison.side(side).tree.algorithm());
    let files = labels::number(incomparable);
    writeln!(out, "{bold}A has digests of {a}, B of {b}{end}: the contents of {files} files cannot be compared")
}

/// Writes the paths of a cause, up to the limit.
fn write_paths(comparison: &TreeComparison<'_>, cause: &Cause<'_>, out: &mut impl Write) -> io::Result<()> {
    let diff = &comparison.diff;
    let limit = comparison.request.limit;
    let changes = || cause.changes.iter().map(|number| &diff.changes()[*number as usize]);
    // Entries of a directory that only one tree has are skipped, as the directory is printed.
    let hides = limit != usize::MAX && matches!(cause.subject, CauseSubject::Only(_));
    let mut shown = 0;
    for change in changes().filter(|change| !hides || !change.is_within()).take(limit) {
        writeln!(out, "  {}{}", labels::path(&diff.path(change)), detail(comparison, cause, change))?;
        shown += 1;
    }
    match cause.changes.len() - shown {
        0 => Ok(()),
        more => writeln!(out, "  ... and {} more (--all prints them)", labels::number(more)),
    }
}

/// Formats the difference at a path, unless the cause describes it for all paths.
fn detail(comparison: &TreeComparison<'_>, cause: &Cause<'_>, change: &Change) -> String {
    let diff = &comparison.diff;
    match &cause.subject {
        CauseSubject::Only(side) => match diff.inode(*side, change) {
            Some(inode) => format!("  ({})", mode::word(inode.kind())),
            None => String::new(),
        },
        CauseSubject::XattrOnly(_, name) | CauseSubject::XattrValue(name) => {
            let found = diff.xattrs(change).into_iter().find(|xattr| xattr.name == &name[..]);
            found.map(|xattr| format!("  {}", labels::xattr(&xattr))).unwrap_or_default()
        }
        CauseSubject::Field(_) if cause.changes.len() > 1 && cause.old.is_some() && cause.new.is_some() => {
            String::new()
        }
        CauseSubject::Field(field) => {
            let [old, new] = [Side::A, Side::B].map(|side| labels::value(*field, &diff.value(side, change, *field)));
            format!("  {old} -> {new}")
        }
    }
}
