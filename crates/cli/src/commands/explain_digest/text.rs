//! What was found, for people.

use std::io::{self, Write};

use libcomposefs_image::diff::Diff;
use libcomposefs_image::diff::causes::causes;
use libcomposefs_image::policy::Policy;

use super::words::{describe, why_indifferent};
use super::{Findings, Tried};
use crate::commands::diff::words::{self, number, path};

/// So many paths are shown of those that differ in the same.
const PATHS: usize = 5;

/// Prints the findings.
pub(super) fn write(findings: &Findings<'_>, out: &mut impl Write) -> io::Result<()> {
    if findings.args.list || findings.args.policy.is_some() {
        return list(findings, out);
    }
    let mut found = findings.found().peekable();
    if found.peek().is_none() {
        not_found(findings, out)?;
    }
    for policy in found {
        writeln!(out, "This gives the digest:")?;
        tell(findings, policy, out)?;
    }
    let indifferent = findings.space.indifferent();
    if !indifferent.is_empty() {
        writeln!(out, "\nIt makes no difference on this tree what becomes of:")?;
        for choice in indifferent {
            writeln!(out, "  {}", why_indifferent(choice))?;
        }
    }
    if !findings.tried.is_empty() {
        writeln!(out, "\nTried {} of {} policies.", findings.tried.len(), findings.policies)?;
    }
    Ok(())
}

/// A line for each policy.
fn list(findings: &Findings<'_>, out: &mut impl Write) -> io::Result<()> {
    for Tried { policy, digest } in &findings.tried {
        match digest {
            Ok(digest) => writeln!(out, "{digest}  {policy}")?,
            Err(error) => writeln!(out, "no image: {error}  {policy}")?,
        }
    }
    Ok(())
}

/// A policy in words and as command lines.
fn tell(findings: &Findings<'_>, policy: &Policy, out: &mut impl Write) -> io::Result<()> {
    for line in describe(policy, findings.space) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "To make it again:")?;
    for command in findings.reproduce().commands(policy) {
        writeln!(out, "  # {}\n  {}", command.tool, command.line)?;
    }
    Ok(())
}

fn not_found(findings: &Findings<'_>, out: &mut impl Write) -> io::Result<()> {
    if let Some(want) = findings.want {
        writeln!(out, "No policy gives {want}.")?;
    }
    let Some(near) = &findings.nearest else {
        writeln!(
            out,
            "So something in the tree is not as it was when that image was made, or a tool made it that is not known here.\n\
             With an image or a dump of the wanted side, --against=FILE tells which entries differ, and in what."
        )?;
        if !findings.args.thorough {
            writeln!(out, "--thorough tries combinations that no known tool can be asked for, too.")?;
        }
        return Ok(());
    };
    let diff = near.diff();
    match (diff.is_empty(), findings.want) {
        (true, None) => writeln!(out, "This gives the tree wanted:")?,
        (true, Some(_)) => writeln!(
            out,
            "But this gives the tree of that image. The image itself was written otherwise: by another program, or damaged \
             where no file shows it."
        )?,
        (false, _) => writeln!(out, "This comes nearest:")?,
    }
    tell(findings, &near.policy, out)?;
    if diff.is_empty() { Ok(()) } else { what_remains(&diff, out) }
}

/// What differs although the policy is the best there is: A is what it makes of the source, B what is wanted.
fn what_remains(diff: &Diff<'_>, out: &mut impl Write) -> io::Result<()> {
    let counts = diff.counts();
    let all = counts.common + counts.only_a + counts.only_b;
    let (differing, all) = (number(counts.differing()), number(all));
    writeln!(out, "\nThen {differing} of {all} entries still differ (A is the source, B the wanted side):")?;
    for cause in causes(diff) {
        writeln!(out, "  {}", words::cause(&cause))?;
        for hint in &cause.hints {
            writeln!(out, "      {}", words::hint(hint))?;
        }
        for &change in cause.changes.iter().take(PATHS) {
            writeln!(out, "    {}", path(&diff.path(&diff.changes()[change as usize])))?;
        }
        if let more @ 1.. = cause.changes.len().saturating_sub(PATHS) {
            writeln!(out, "    ... and {} more", number(more))?;
        }
    }
    Ok(())
}
