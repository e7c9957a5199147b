//! Reports about entries, as text and as JSON.

use libcomposefs_image::Digest;
use libcomposefs_repo::Repository;
use serde_json::{Value, json};

use super::found::{BootEntries, BootEntry};
use super::install_plan::{EntryWish, InstallPlan};
use super::kernel::BootProgram;
use crate::output;

/// Prints what was installed, or would be.
pub(super) fn installed(
    is_json: bool,
    plan: &InstallPlan,
    program: &BootProgram,
    wish: &EntryWish<'_>,
    removed: &[String],
    is_dry_run: bool,
) {
    let path = |name: &str| format!("{}/{name}", plan.directory);
    if is_json {
        let files = program.files.iter().zip(&plan.files).map(|(file, (_, is_there))| {
            let is_written = !is_there && !is_dry_run;
            json!({ "path": path(&file.name), "size": file.size, "written": is_written, "present": is_there })
        });
        output::json(&json!({
            "entry": plan.name.to_string(),
            "digest": wish.digest.to_hex(),
            "generation": wish.generation,
            "tries": wish.tries,
            "unified": program.is_unified,
            "options": plan.text.get("options"),
            "files": files.collect::<Vec<_>>(),
            "needed": plan.needed,
            "removed": removed,
            "dry_run": is_dry_run,
        }));
        return;
    }
    if !is_dry_run {
        out!("{}", plan.name);
        return;
    }
    for (file, (_, is_there)) in program.files.iter().zip(&plan.files) {
        let state = if *is_there { "present" } else { "new" };
        out!("{} ({} bytes, {state})", path(&file.name), file.size);
    }
    out!("{}", plan.path());
    for line in plan.text.to_string().lines() {
        out!("    {line}");
    }
}

/// What is known of an entry besides its file.
pub(super) struct EntryFacts {
    pub(super) digest: Option<Digest>,
    /// Whether the repository has the image; `None` without a repository.
    pub(super) is_stored: Option<bool>,
    pub(super) is_booted: bool,
    pub(super) is_next: bool,
}

impl EntryFacts {
    /// Returns the facts of all entries.
    pub(super) fn of(entries: &BootEntries, repository: Option<&Repository>, booted: Option<&Digest>) -> Vec<Self> {
        let next = entries.next().map(|(at, _)| at);
        let facts = |(at, entry): (usize, &BootEntry)| {
            let digest = entry.digest(repository);
            let is_stored = digest.and_then(|digest| Some(repository?.has_image(&digest).unwrap_or(false)));
            let is_booted = digest.is_some() && digest.as_ref() == booted;
            Self { digest, is_stored, is_booted, is_next: Some(at) == next }
        };
        entries.all.iter().enumerate().map(facts).collect()
    }
}

/// Returns how the boot loader regards an entry.
fn state(entry: &BootEntry) -> &'static str {
    match entry.rank.name.counter {
        _ if entry.missing.is_some() => "broken",
        None => "good",
        Some(counter) if counter.left == 0 => "failed",
        Some(_) => "trying",
    }
}

/// Prints a line for each entry, the first one to be started first.
pub(super) fn print_list(entries: &BootEntries, facts: &[EntryFacts]) {
    for (entry, facts) in entries.all.iter().zip(facts) {
        let digest = facts.digest.map_or_else(|| "-".to_owned(), |digest| digest.to_hex()[..12].to_owned());
        let mut words = vec![match entry.rank.name.counter {
            Some(counter) => format!("{}, {} left, {} failed", state(entry), counter.left, counter.done),
            None => state(entry).to_owned(),
        }];
        words.extend(entry.missing.as_ref().map(|missing| format!("no file {missing}")));
        for (is_so, word) in [
            (facts.is_booted, "booted"),
            (facts.is_next, "next"),
            (facts.is_stored == Some(false), "not in the repository"),
            (entry.own.is_none(), "of another program"),
        ] {
            words.extend(is_so.then(|| word.to_owned()));
        }
        let title = entry.title.as_deref().map(|title| format!("  {title}")).unwrap_or_default();
        out!("{}  {digest}  {}{title}", entry.file_name(), words.join(", "));
    }
}

/// Returns an entry as JSON.
pub(super) fn entry_json(entry: &BootEntry, facts: &EntryFacts) -> Value {
    json!({
        "entry": entry.file_name(),
        "path": entry.path,
        "id": entry.id(),
        "title": entry.title,
        "version": entry.rank.version,
        "sort_key": entry.rank.sort_key,
        "generation": entry.own.as_ref().map(|own| own.generation),
        "digest": facts.digest.map(|digest| digest.to_hex()),
        "command_line": entry.command_line,
        "files": entry.files,
        "missing": entry.missing,
        "state": state(entry),
        "tries_left": entry.rank.name.counter.map(|counter| counter.left),
        "tries_failed": entry.rank.name.counter.map(|counter| counter.done),
        "in_repository": facts.is_stored,
        "booted": facts.is_booted,
        "next": facts.is_next,
    })
}

/// Tells of files that are no entries.
pub(super) fn tell_unread(entries: &BootEntries) {
    for (path, reason) in &entries.unread {
        tell!("composefs: {path} is not read: {reason}");
    }
}
