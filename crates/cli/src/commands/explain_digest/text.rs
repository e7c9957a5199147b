//! Prints the findings of `explain-digest` as text: the policies that give the digest, or the differences from the
//! nearest one.

use std::io::{self, Write};

use libcomposefs_image::diff::Diff;
use libcomposefs_image::diff::causes::causes;
use libcomposefs_image::policy::Policy;

use super::words::{self, describe, why_indifferent};
use super::{Findings, Tried};
use crate::commands::diff::labels::{self, number, path};

/// Number of paths printed for each difference.
const PATHS: usize = 5;

/// Writes the findings to `out`.
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
        write_policy(findings, policy, out)?;
    }
    let indifferent = findings.space.indifferent();
    if !indifferent.is_empty() {
        writeln!(out, "\nChoices that make no difference for this tree:")?;
        for choice in indifferent {
            writeln!(out, "  {}", why_indifferent(choice))?;
        }
    }
    if !findings.tried.is_empty() {
        writeln!(out, "\nTried {} of {} policies.", findings.tried.len(), findings.policies.len())?;
    }
    Ok(())
}

/// Writes one line for each policy.
fn list(findings: &Findings<'_>, out: &mut impl Write) -> io::Result<()> {
    if let Some(rule) = findings.source.whiteouts {
        writeln!(out, "{}:", words::whiteouts(rule))?;
    }
    for Tried { policy, digest } in &findings.tried {
        match digest {
            Ok(digest) => writeln!(out, "{digest}  {policy}")?,
            Err(error) => writeln!(out, "no image: {error}  {policy}")?,
        }
    }
    Ok(())
}

/// Writes a description of a policy, and the command lines for it.
fn write_policy(findings: &Findings<'_>, policy: &Policy, out: &mut impl Write) -> io::Result<()> {
    for line in describe(policy, findings.space) {
        writeln!(out, "  {line}")?;
    }
    if let Some(rule) = findings.source.whiteouts {
        writeln!(out, "  {}", words::whiteouts(rule))?;
    }
    writeln!(out, "To reproduce it:")?;
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
            "The tree has changed since that image was built, or the image was built by an unknown tool.\n\
             If you have an image or a dump of the expected tree, use --against=FILE to find the entries that differ."
        )?;
        if !findings.args.thorough {
            writeln!(out, "Use --thorough to try combinations that no known tool offers.")?;
        }
        return Ok(());
    };
    let diff = near.diff();
    match (diff.is_empty(), findings.want) {
        (true, None) => writeln!(out, "This gives the expected tree:")?,
        (true, Some(_)) => writeln!(
            out,
            "But this gives the tree of that image. The image file differs: it was written by another program, or is \
             damaged in a place that does not affect the tree."
        )?,
        (false, _) => writeln!(out, "This comes closest:")?,
    }
    write_policy(findings, &near.policy, out)?;
    if diff.is_empty() { Ok(()) } else { what_remains(&diff, out) }
}

/// Writes the remaining differences of the closest policy: A is the tree it makes of the source, B the expected tree.
fn what_remains(diff: &Diff<'_>, out: &mut impl Write) -> io::Result<()> {
    let counts = diff.counts();
    let all = counts.common + counts.only_a + counts.only_b;
    let (differing, all) = (number(counts.differing()), number(all));
    writeln!(out, "\n{differing} of {all} entries still differ (A is the source, B the expected tree):")?;
    for cause in causes(diff) {
        writeln!(out, "  {}", labels::cause(&cause))?;
        for hint in &cause.hints {
            writeln!(out, "      {}", labels::hint(hint))?;
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
