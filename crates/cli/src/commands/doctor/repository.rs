//! Checks the state of a repository.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use libcomposefs_repo::{LockHolder, Repository, RepositoryError};

use super::finding::{DoctorFinding, Status};
use crate::commands::repository::{counted, openers_text};
use crate::inspect::size::human;

pub(super) fn look(path: &Path) -> Vec<DoctorFinding> {
    let repository = match Repository::open(path) {
        Ok(repository) => repository,
        Err(error @ RepositoryError::NotARepository { .. }) => {
            let finding =
                DoctorFinding::new("repository", Status::Unknown, error.to_string(), "there is no repository to use");
            return vec![finding];
        }
        Err(error) => {
            let finding = DoctorFinding::new("repository", Status::Missing, error.to_string(), "it cannot be used")
                .remedy(format!("composefs --repo={} fsck --repair", path.display()));
            return vec![finding];
        }
    };
    let mut findings = vec![
        settings(&repository),
        owner(path),
        access(&repository),
        lock(&repository),
        names(&repository),
        streams(&repository),
        cold(&repository),
    ];
    findings.extend(partial(&repository));
    findings
}

fn settings(repository: &Repository) -> DoctorFinding {
    let algorithm = repository.algorithm();
    if repository.demands_verity() {
        return DoctorFinding::new(
            "repository",
            Status::Ok,
            format!("{algorithm}, requires fs-verity"),
            "every mount from it is verified",
        );
    }
    DoctorFinding::new(
        "repository",
        Status::Warning,
        format!("{algorithm}, without fs-verity"),
        "mounts from it are not verified: only fsck detects changed objects",
    )
    .remedy("create one without --insecure on a file system with fs-verity, and copy to it with `composefs sync`")
}

fn owner(path: &Path) -> DoctorFinding {
    let means = "users who may write to a repository control what is mounted from it";
    match fs::metadata(path) {
        Ok(stat) => {
            let (uid, mode) = (stat.uid(), stat.mode() & 0o7777);
            let found = format!("user {uid}, mode {mode:04o}");
            let own = rustix::process::geteuid().as_raw();
            if mode & 0o022 != 0 {
                DoctorFinding::new("owner", Status::Warning, found, means)
                    .remedy(format!("chmod go-w {}", path.display()))
            } else if uid != own && uid != 0 {
                DoctorFinding::new("owner", Status::Warning, format!("{found}, and this is user {own}"), means)
            } else {
                DoctorFinding::new("owner", Status::Ok, found, means)
            }
        }
        Err(error) => DoctorFinding::new("owner", Status::Unknown, error.to_string(), means),
    }
}

/// Checks which users could lock the repository.
fn access(repository: &Repository) -> DoctorFinding {
    let means =
        "users who may open the directory can lock it: then nothing can be written, and readers wait for 5 seconds";
    match repository.openers().map(|openers| openers_text(&openers)) {
        Ok(None) => {
            DoctorFinding::new("access", Status::Ok, "only its owner may open the directory and lock it", means)
        }
        Ok(Some(text)) => DoctorFinding::new("access", Status::Warning, text, means)
            .remedy(format!("chmod go-r {}, unless they work in it", repository.path().display())),
        Err(error) => DoctorFinding::new("access", Status::Unknown, error.to_string(), means),
    }
}

/// Checks which processes hold the lock.
fn lock(repository: &Repository) -> DoctorFinding {
    let means = "an exclusive lock prevents other processes from writing; cfsctl holds it as long as it runs";
    let holders = repository.lock_holders();
    let text = |is_alone: bool| {
        let holders = holders.iter().filter(|holder| holder.is_alone == is_alone).map(LockHolder::to_string);
        holders.collect::<Vec<_>>().join(", ")
    };
    match (text(true), text(false)) {
        (alone, _) if !alone.is_empty() => {
            DoctorFinding::new("lock", Status::Warning, format!("{alone} holds it exclusively"), means)
                .remedy("end that process if it should not use the repository")
        }
        (_, shared) if !shared.is_empty() => {
            DoctorFinding::new("lock", Status::Ok, format!("{shared} holds it shared"), means)
        }
        _ => DoctorFinding::new("lock", Status::Ok, "no process holds it, according to /proc/locks", means),
    }
}

fn names(repository: &Repository) -> DoctorFinding {
    let means = "this checks names only; `composefs fsck` checks everything";
    match repository.images() {
        Ok(images) => {
            let wrong = images.dangling.len() + images.broken.len();
            let found = counted(images.images.len() as u64, "image");
            if wrong == 0 {
                return DoctorFinding::new("images", Status::Ok, found, means);
            }
            let found = format!(
                "{found}; {} invalid",
                if wrong == 1 { "a name is".into() } else { format!("{wrong} names are") }
            );
            DoctorFinding::new("images", Status::Warning, found, means)
                .remedy(format!("composefs --repo={} fsck", repository.path().display()))
        }
        Err(error) => DoctorFinding::new("images", Status::Missing, error.to_string(), means),
    }
}

/// Counts the partial images, if there are any, and finds names and descriptions that are wrong.
fn partial(repository: &Repository) -> Option<DoctorFinding> {
    let means = "`composefs mount --lazy` mounts a partial image, `composefs pull` completes it";
    let finding = |status, found| DoctorFinding::new("partial images", status, found, means);
    let all = match repository.partial_images() {
        Ok(all) => all,
        Err(error) => return Some(finding(Status::Missing, error.to_string())),
    };
    let wrong = all.broken.first().map(|(_, error)| error.to_string());
    let wrong =
        wrong.or_else(|| all.dangling.first().map(|(name, image)| format!("{name} names {image}, which is not there")));
    let found = counted(all.images.len() as u64, "partial image");
    match wrong {
        Some(wrong) => {
            let found = format!("{found}; {wrong}{}", some_more(all.broken.len() + all.dangling.len()));
            let remedy = format!("composefs --repo={} fsck", repository.path().display());
            Some(finding(Status::Warning, found).remedy(remedy))
        }
        None => (!all.images.is_empty()).then(|| finding(Status::Ok, found)),
    }
}

/// Counts the cold images, and finds names and descriptions that are wrong.
fn cold(repository: &Repository) -> DoctorFinding {
    let means = "commands that need a cold image unpack it first; `composefs fsck` checks the packs";
    let all = match repository.cold_images() {
        Ok(all) => all,
        Err(error) => return DoctorFinding::new("cold images", Status::Missing, error.to_string(), means),
    };
    let packed = all.images.iter().map(|image| image.entry.pack_size).sum();
    let found = match all.images.len() as u64 {
        0 => "none".to_owned(),
        count => format!("{}, {} packed", counted(count, "cold image"), human(packed)),
    };
    let wrong = all.broken.first().map(|(_, error)| error.to_string());
    let wrong =
        wrong.or_else(|| all.dangling.first().map(|(name, image)| format!("{name} names {image}, which is not there")));
    let Some(wrong) = wrong else { return DoctorFinding::new("cold images", Status::Ok, found, means) };
    let others = some_more(all.broken.len() + all.dangling.len());
    DoctorFinding::new("cold images", Status::Warning, format!("{found}; {wrong}{others}"), means)
        .remedy(format!("composefs --repo={} fsck", repository.path().display()))
}

/// Counts the streams and the tags of OCI images, and finds those that nothing keeps or that cannot be read.
fn streams(repository: &Repository) -> DoctorFinding {
    let means = "an OCI image is kept by its tag; gc removes untagged ones, and nothing while a stream cannot be read";
    let summary = match repository.stream_summary() {
        Ok(summary) => summary,
        Err(error) => return DoctorFinding::new("streams", Status::Missing, error.to_string(), means),
    };
    let path = repository.path().display();
    let (streams, tags) = (counted(summary.streams, "stream"), counted(summary.tags.len() as u64, "OCI tag"));
    let found = format!("{streams}, {tags}");
    if let Some(first) = summary.unreadable.first() {
        let others = some_more(summary.unreadable.len());
        let found = format!("{found}; {} {}{others}", first.path.display(), first.found);
        return DoctorFinding::new("streams", Status::Warning, found, means)
            .remedy(format!("composefs --repo={path} fsck"));
    }
    if let Some(first) = summary.dangling.first() {
        let found = format!("{found}; tag {first} leads to no image{}", some_more(summary.dangling.len()));
        return DoctorFinding::new("streams", Status::Warning, found, means)
            .remedy(format!("pull that image again, or composefs --repo={path} oci untag {first}"));
    }
    if let Some(first) = summary.untagged.first() {
        let found = format!("{found}; untagged: {first}{}", some_more(summary.untagged.len()));
        return DoctorFinding::new("streams", Status::Ok, found, means).remedy(format!("composefs --repo={path} gc"));
    }
    DoctorFinding::new("streams", Status::Ok, found, means)
}

fn some_more(count: usize) -> String {
    if count > 1 { format!(" and {} more", count - 1) } else { String::new() }
}
