//! The state of a repository.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use composefs_store::repository::{Repository, RepositoryError};

use super::finding::{Finding, Status};
use crate::commands::repository::counted;

pub(super) fn look(path: &Path) -> Vec<Finding> {
    let repository = match Repository::open(path) {
        Ok(repository) => repository,
        Err(error @ RepositoryError::NotARepository { .. }) => {
            let finding =
                Finding::new("repository", Status::Unknown, error.to_string(), "there is none to be used here");
            return vec![finding];
        }
        Err(error) => {
            let finding = Finding::new("repository", Status::Missing, error.to_string(), "it cannot be used")
                .remedy(format!("composefs --repo={} fsck --repair", path.display()));
            return vec![finding];
        }
    };
    vec![settings(&repository), owner(path), names(&repository)]
}

fn settings(repository: &Repository) -> Finding {
    let algorithm = repository.algorithm();
    if repository.demands_verity() {
        return Finding::new(
            "repository",
            Status::Ok,
            format!("{algorithm}, demands fs-verity"),
            "every mount from it is verified",
        );
    }
    Finding::new(
        "repository",
        Status::Warning,
        format!("{algorithm}, goes without fs-verity"),
        "no mount from it is verified: only fsck finds what is changed",
    )
    .remedy("make one without --insecure on a file system with fs-verity, and `composefs sync` to it")
}

fn owner(path: &Path) -> Finding {
    let means = "whoever may write in a repository decides what is mounted from it";
    match fs::metadata(path) {
        Ok(stat) => {
            let (uid, mode) = (stat.uid(), stat.mode() & 0o7777);
            let found = format!("user {uid}, mode {mode:04o}");
            let own = rustix::process::geteuid().as_raw();
            if mode & 0o022 != 0 {
                Finding::new("owner", Status::Warning, found, means).remedy(format!("chmod go-w {}", path.display()))
            } else if uid != own && uid != 0 {
                Finding::new("owner", Status::Warning, format!("{found}, and this is user {own}"), means)
            } else {
                Finding::new("owner", Status::Ok, found, means)
            }
        }
        Err(error) => Finding::new("owner", Status::Unknown, error.to_string(), means),
    }
}

fn names(repository: &Repository) -> Finding {
    let means = "`composefs fsck` looks at everything, and this only at names";
    match repository.images() {
        Ok(images) => {
            let wrong = images.dangling.len() + images.broken.len();
            let found = counted(images.images.len() as u64, "image");
            if wrong == 0 {
                return Finding::new("images", Status::Ok, found, means);
            }
            let found = format!(
                "{found}; {} wrong",
                if wrong == 1 { "a name is".into() } else { format!("{wrong} names are") }
            );
            Finding::new("images", Status::Warning, found, means)
                .remedy(format!("composefs --repo={} fsck", repository.path().display()))
        }
        Err(error) => Finding::new("images", Status::Missing, error.to_string(), means),
    }
}
