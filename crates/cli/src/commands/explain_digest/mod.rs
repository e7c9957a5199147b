//! `composefs explain-digest`: finds the choices of a tool that give a tree's image its digest.

mod bootable;
mod expected;
mod json;
mod nearest;
mod options;
mod reproduce;
mod search;
mod source;
mod text;
mod words;

use std::cell::OnceCell;
use std::io::Write;
use std::process::ExitCode;

use indicatif::ProgressBar;
use libcomposefs_image::Digest;
use libcomposefs_image::diff::{self, Diff, diff};
use libcomposefs_image::policy::{Policy, Space};
use libcomposefs_image::tree::Tree;

pub(super) use bootable::bootable_digest;
use expected::ExpectedTree;
use nearest::Nearest;
pub(super) use options::ExplainDigestArgs;
use reproduce::Reproduce;
use search::{Search, Tried};
use source::{DigestSource, SourceOptions};

use super::repository::RepositoryArgs;
use crate::exit::exit_answer;
use crate::operand::Operands;
use crate::output;

/// Findings of the search.
struct Findings<'a> {
    args: &'a ExplainDigestArgs,
    source: &'a DigestSource,
    space: &'a Space,
    /// Digest given by `--want`, or that of the expected image.
    want: Option<Digest>,
    /// All policies.
    policies: Vec<Policy>,
    /// Policies that were tried.
    tried: Vec<Tried>,
    /// Closest policy and its tree, if no policy gives the digest.
    nearest: Option<Near<'a>>,
}

/// The policy that comes closest to the expected tree.
struct Near<'a> {
    policy: Policy,
    tree: Tree,
    wanted: &'a Tree,
}

/// Runs the command and returns its exit status.
pub(super) fn run(args: &ExplainDigestArgs, selected: &RepositoryArgs) -> ExitCode {
    exit_answer(explain(args, selected))
}

fn explain(args: &ExplainDigestArgs, selected: &RepositoryArgs) -> anyhow::Result<bool> {
    let latest = args.latest()?;
    let opened = OnceCell::new();
    let operands = Operands::new(selected, &opened);
    let expected = args.against.as_deref().map(|path| ExpectedTree::read(path, &operands)).transpose()?;
    let want = args.want.or(expected.as_ref().and_then(ExpectedTree::digest));
    let algorithm = match (want, &expected, args.policy) {
        (Some(want), ..) => Some(want.algorithm()),
        (None, Some(expected), _) => Some(expected.tree.algorithm()),
        (None, None, policy) => policy.map(|policy| policy.algorithm),
    };
    let options = SourceOptions { algorithm, limits: &args.limits(), threads: args.threads };
    let (first, second) = DigestSource::read(&args.source, &operands, options)?;
    let readings: Vec<_> = [Some(first), second].into_iter().flatten().collect();
    let spaces = readings.iter().map(|source| {
        let space = Space::of(&source.tree, &source.contents, &source.limits, latest);
        algorithm.map_or(space.clone(), |algorithm| space.with_algorithm(algorithm))
    });
    let spaces: Vec<_> = spaces.collect();
    let mut all = Vec::new();
    for (source, space) in readings.iter().zip(&spaces) {
        let mut findings =
            Findings { args, source, space, want, policies: Vec::new(), tried: Vec::new(), nearest: None };
        findings.policies = match args.policy {
            Some(policy) => vec![policy],
            None if args.thorough => space.all(),
            None => space.policies(),
        };
        if want.is_some() || expected.is_none() {
            findings.tried = search(args, source, &findings.policies, want.filter(|_| !args.all));
        }
        let is_found = findings.found().next().is_some();
        all.push(findings);
        if is_found && !args.all {
            break;
        }
    }
    // The tree of the expected image is not needed otherwise.
    let expected = match expected {
        None if all.iter().all(|findings| findings.found().next().is_none()) => {
            want.map_or(Ok(None), |want| ExpectedTree::find(&want, all[0].source, &operands))?
        }
        given => given,
    };
    if let Some(expected) = expected.as_ref().filter(|_| all.iter().all(|one| one.found().next().is_none())) {
        for findings in &mut all {
            findings.nearest = nearest(args, findings.source, &findings.policies, expected);
        }
    }
    print(args, all)
}

/// Prints the readings of the source that answer the question; of several, the one that comes closest.
fn print(args: &ExplainDigestArgs, mut all: Vec<Findings<'_>>) -> anyhow::Result<bool> {
    let is_answered = all.iter().any(Findings::is_answered);
    if is_answered {
        all.retain(Findings::is_answered);
    } else {
        let differing =
            |findings: &Findings<'_>| findings.nearest.as_ref().map(|near| near.diff().counts().differing());
        all.sort_by_key(|findings| differing(findings).unwrap_or(usize::MAX));
        all.truncate(1);
    }
    let mut out = output::text();
    if args.json {
        json::write(&all, &mut out)?;
    } else {
        all.iter().try_for_each(|findings| text::write(findings, &mut out))?;
    }
    out.flush()?;
    Ok(is_answered)
}

fn search(args: &ExplainDigestArgs, source: &DigestSource, policies: &[Policy], until: Option<Digest>) -> Vec<Tried> {
    let bar = bar(policies.len());
    let search = Search { source, policies, until, threads: args.thread_count() };
    let tried = search.run(&|| bar.inc(1));
    bar.finish_and_clear();
    tried
}

fn nearest<'a>(
    args: &ExplainDigestArgs,
    source: &DigestSource,
    policies: &[Policy],
    expected: &'a ExpectedTree,
) -> Option<Near<'a>> {
    let policies = expected.only_its_version(policies);
    let bar = bar(policies.len());
    let nearest = Nearest { source, policies: &policies, expected, threads: args.thread_count() };
    let found = nearest.find(&|| bar.inc(1));
    bar.finish_and_clear();
    found.map(|(policy, tree)| Near { policy, tree, wanted: &expected.tree })
}

/// Progress display of the search, on a terminal only.
fn bar(policies: usize) -> ProgressBar {
    output::bar("{pos} of {len} policies, {elapsed}", policies as u64)
}

impl Findings<'_> {
    /// Returns the policies that give the expected digest.
    fn found(&self) -> impl Iterator<Item = &Policy> {
        let gives = |tried: &&Tried| self.want.is_some() && tried.digest.as_ref().ok() == self.want.as_ref();
        self.tried.iter().filter(gives).map(|tried| &tried.policy)
    }

    fn is_answered(&self) -> bool {
        let is_list = self.args.list || self.args.policy.is_some();
        is_list || self.found().next().is_some() || self.nearest.as_ref().is_some_and(|near| self.is_reached(near))
    }

    /// Returns true if the closest policy gives the expected tree and no digest is known.
    fn is_reached(&self, near: &Near<'_>) -> bool {
        self.want.is_none() && near.diff().is_empty()
    }

    fn reproduce(&self) -> Reproduce<'_> {
        let DigestSource { ref path, ref words, form, ref tree, whiteouts, .. } = *self.source;
        Reproduce { source: path, words, whiteouts, form, tree, space: self.space }
    }
}

impl Near<'_> {
    fn diff(&self) -> Diff<'_> {
        diff(&self.tree, self.wanted, &diff::Options::default())
    }
}
