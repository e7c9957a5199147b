//! Two images of trees that share most of their files, and repositories for them.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcomposefs_content::NoProgress;
use libcomposefs_delivery::{
    DeliveryError, DeliveryPullOptions, DeliveryPushOptions, Patience, Pulled, Pushed, Remote, RemoteStore, Retries,
    Trace, plan, pull, push,
};
use libcomposefs_image::{Algorithm, Digest};
use libcomposefs_repo::{Format, ImageName, RefName, Repository, Settings};
use libcomposefs_testkit::numbers::noise;
use libcomposefs_testkit::scratch::directory_in_memory;

/// Makes a temporary file without a name.
pub(crate) fn make_file() -> io::Result<fs::File> {
    tempfile::tempfile()
}

/// A directory with repositories and trees, for one test.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: directory_in_memory() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes an empty repository.
    pub(crate) fn repository(&self, name: &str) -> Repository {
        let settings = Settings { algorithm: Algorithm::Sha256, demands_verity: false, format: Format::default() };
        Repository::init(&self.path(name), settings).unwrap().0
    }

    /// Makes a repository with the images `old` and `new`.
    pub(crate) fn source(&self, name: &str) -> Repository {
        let repository = self.repository(name);
        for version in [1, 2] {
            let tree = self.path(&format!("{name}-tree{version}"));
            write_tree(&tree, version);
            add(&repository, &tree, if version == 1 { "old" } else { "new" });
        }
        repository
    }
}

/// Adds the image of a tree.
pub(crate) fn add(repository: &Repository, tree: &Path, name: &str) -> Digest {
    let mut transaction = repository.transaction().unwrap();
    let scanned = transaction.scan(tree, &Default::default(), &NoProgress).unwrap();
    let image = repository.meta().format.plan(&scanned).unwrap();
    let digest = transaction.add_image(&scanned, &image, vec![reference(name)]).unwrap();
    transaction.commit().unwrap();
    digest
}

/// Writes a tree: small files, equal files, large files of which the second version changes a part.
fn write_tree(tree: &Path, version: u64) {
    fs::create_dir_all(tree.join("lib")).unwrap();
    for number in 0..40_u64 {
        let changed = if number % 8 == 0 { version } else { 1 };
        let mut content = noise(number, 400 + number as usize * 80);
        content.extend(format!("version {changed}").bytes());
        fs::write(tree.join(format!("lib/small{number:02}")), content).unwrap();
    }
    for number in 0..4_u64 {
        let mut content = noise(100 + number, 120_000);
        if number < 2 {
            content[1000..1010].fill(version as u8);
        }
        fs::write(tree.join(format!("large{number}")), content).unwrap();
    }
    fs::write(tree.join(format!("only{version}")), noise(1000 + version, 70_000)).unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("zeros"), vec![0; 2 << 20]).unwrap();
}

pub(crate) fn reference(name: &str) -> RefName {
    RefName::new(name).unwrap()
}

pub(crate) fn image(name: &str) -> ImageName {
    ImageName::Ref(reference(name))
}

/// Returns a patience whose pauses are short.
pub(crate) fn patience() -> Patience {
    let (shortest, longest) = (Duration::from_micros(10), Duration::from_micros(200));
    Patience { retries: Retries { count: 3, shortest, longest, ..Retries::default() }, interrupt: None }
}

pub(crate) fn push_to(
    repository: &Repository,
    name: &str,
    store: &dyn RemoteStore,
    as_name: &str,
) -> Result<Pushed, DeliveryError> {
    push_with(repository, name, store, as_name, None)
}

pub(crate) fn push_with(
    repository: &Repository,
    name: &str,
    store: &dyn RemoteStore,
    as_name: &str,
    trace: Option<&Trace>,
) -> Result<Pushed, DeliveryError> {
    let options = DeliveryPushOptions {
        trace,
        effort: Default::default(),
        threads: NonZeroUsize::new(2).unwrap(),
        make_file: &make_file,
        progress: &NoProgress,
    };
    push(repository, &image(name), &[], &Remote::new(store, patience()), &reference(as_name), &options)
}

pub(crate) fn pull_options() -> DeliveryPullOptions<'static> {
    DeliveryPullOptions {
        connections: NonZeroUsize::new(4).unwrap(),
        rate_limit: None,
        make_file: &make_file,
        progress: &NoProgress,
    }
}

pub(crate) fn pull_from(repository: &Repository, store: &dyn RemoteStore, name: &str) -> Result<Pulled, DeliveryError> {
    let remote = Remote::new(store, patience());
    let plan = plan(repository, &remote, &reference(name))?;
    pull(repository, &remote, &plan, vec![reference(name)], &pull_options())
}

/// Asserts that a repository has an image with all its objects, and nothing damaged.
pub(crate) fn expect_whole(repository: &Repository, name: &str, digest: Digest) {
    assert_eq!(repository.resolve(&image(name)).unwrap(), digest);
    let tree = repository.tree_of_image(&digest).unwrap();
    let objects = libcomposefs_repo::bundle::VerifiedObjects::new(repository);
    for object in tree.objects().filter(|object| object.size > 0) {
        objects.open(&object.digest).unwrap();
    }
}
