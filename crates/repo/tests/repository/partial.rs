//! Partial images: gc keeps what is here of them, fsck counts what is missing, and publishing completes them.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use libcomposefs_content::NoProgress;
use libcomposefs_image::Digest;
use libcomposefs_repo::partial::{AddedPartial, PartialEntry};
use libcomposefs_repo::{GcOptions, ImageName, RefName, Repository, RepositoryError};

use crate::place::{Place, SETTINGS};

const NOW: GcOptions = GcOptions { dry_run: false, grace: Duration::ZERO };

/// The first image of a place, in a repository without its objects.
struct Partial {
    place: Place,
    from: Repository,
    to: Repository,
    digest: Digest,
    name: RefName,
}

impl Partial {
    fn new() -> Self {
        let place = Place::new(12);
        let from = Repository::open(&place.path("repo")).unwrap();
        let (to, _) = Repository::init(&place.path("partial"), SETTINGS).unwrap();
        let (digest, name) = (place.images[0], RefName::new("debian/13").unwrap());
        let partial = Self { place, from, to, digest, name };
        assert_eq!(partial.add(), AddedPartial::Partial);
        partial
    }

    fn add(&self) -> AddedPartial {
        let bytes = self.from.read_image(&self.digest).unwrap().bytes;
        let (remote, document) = ("/srv/remote".to_owned(), "{}".to_owned());
        let entry = PartialEntry { remote, name: self.name.clone(), document, objects: 0, bytes: 0 };
        self.to.add_partial(&bytes, &self.digest, entry, std::slice::from_ref(&self.name)).unwrap()
    }

    /// Copies some of the objects of the image.
    fn fetch(&self, count: usize) -> Vec<Digest> {
        let tree = self.from.tree_of_image(&self.digest).unwrap();
        let mut objects: Vec<Digest> = tree.objects().map(|object| object.digest).collect();
        objects.sort_unstable();
        objects.dedup();
        let batch = self.to.objects().batch();
        for object in objects.iter().take(count) {
            batch.put_bytes(&fs::read(self.from.objects().path_of(object)).unwrap()).unwrap();
        }
        batch.finish().unwrap();
        objects
    }

    fn has(&self, path: &str) -> bool {
        self.place.path("partial").join(path).symlink_metadata().is_ok()
    }

    fn entry_path(&self) -> PathBuf {
        self.place.path("partial").join("partial").join(self.digest.to_hex())
    }
}

#[test]
fn what_is_here_is_kept_as_long_as_the_image_has_a_name() {
    let partial = Partial::new();
    let objects = partial.fetch(5);
    assert!(partial.has("partial/refs/debian/13") && !partial.has("images/refs/debian/13"));
    let report = partial.to.collect_partial(NOW).unwrap();
    assert_eq!((report.kept, report.removed.len()), (1, 0));
    // The image and five objects stay, whatever the grace.
    let report = partial.to.gc(NOW).unwrap();
    assert_eq!((report.removed_objects, report.unreadable.len()), (0, 0));
    assert_eq!((report.images_kept, report.objects_kept), (0, 6));
    assert_eq!(partial.to.objects().list().count(), 6);
    let check = partial.to.check_partial().unwrap();
    let (_, progress) = &check.images[0];
    assert!(check.damages.is_empty(), "{check:?}");
    assert_eq!((progress.objects_here, progress.missing()), (5, objects.len() as u64 - 5));
    assert_eq!(partial.to.partial_images().unwrap().images[0].entry.objects, objects.len() as u64);
    assert!(partial.to.usage().unwrap().unneeded == 0 && partial.to.why(&objects[0]).unwrap().is_kept());
    // Without a name, all of it goes.
    partial.to.untag(&partial.name).unwrap();
    let young = GcOptions { grace: Duration::from_secs(3600), ..NOW };
    assert_eq!(partial.to.collect_partial(young).unwrap().young, [partial.digest]);
    let dry = GcOptions { dry_run: true, ..NOW };
    assert_eq!(partial.to.collect_partial(dry).unwrap().removed, [partial.digest]);
    assert!(partial.entry_path().exists());
    // An open image stays, and its lease says so too.
    let lease = partial.to.lease().unwrap();
    lease.protect(&[partial.digest]).unwrap();
    assert_eq!(partial.to.collect_partial(NOW).unwrap().in_use, [partial.digest]);
    drop(lease);
    assert_eq!(partial.to.collect_partial(NOW).unwrap().removed, [partial.digest]);
    assert_eq!(partial.to.gc(NOW).unwrap().removed_objects, 6);
    assert!(!partial.entry_path().exists());
}

#[test]
fn nothing_takes_a_partial_image_for_a_whole_one() {
    let partial = Partial::new();
    partial.fetch(2);
    let (digest, name) = (ImageName::Digest(partial.digest), ImageName::Ref(partial.name.clone()));
    for (image, error) in [
        (&name, partial.to.resolve(&name).unwrap_err()),
        (&digest, partial.to.reader().unwrap().open_named(&digest).unwrap_err()),
        (&name, partial.to.tag(&name, &RefName::new("other").unwrap()).unwrap_err()),
        (&digest, partial.to.tag(&digest, &RefName::new("other").unwrap()).unwrap_err()),
        (&name, partial.from.plan_sync(&partial.to, std::slice::from_ref(&partial.name)).unwrap_err()),
    ] {
        assert!(matches!(error, RepositoryError::Partial { .. }), "{image}: {error:?}");
        let text = error.to_string();
        assert!(text.contains("pull /srv/remote debian/13") && text.contains("--lazy=/srv/remote"), "{text}");
    }
    assert!(partial.from.plan_sync(&partial.to, &[]).unwrap().is_empty());
    // An unknown name is another error.
    let other = ImageName::Ref(RefName::new("other").unwrap());
    assert!(matches!(partial.to.resolve(&other), Err(RepositoryError::NoSuchRef { .. })));
}

#[test]
fn publishing_completes_the_image_under_all_its_names() {
    let partial = Partial::new();
    partial.fetch(usize::MAX);
    let more = RefName::new("debian/stable").unwrap();
    let bytes = partial.from.read_image(&partial.digest).unwrap().bytes;
    let entry = partial.to.partial_image(&partial.digest).unwrap().unwrap().entry;
    partial.to.add_partial(&bytes, &partial.digest, entry, std::slice::from_ref(&more)).unwrap();
    let text = fs::read(partial.entry_path()).unwrap();
    let source = partial.to.plan_sync(&partial.from, &[]).unwrap();
    let mut step = source.into_iter().find(|step| step.digest == partial.digest).unwrap();
    step.name = partial.name.clone();
    partial.to.sync(&partial.from, &step, NonZeroUsize::MIN, &NoProgress).unwrap();
    for name in [&partial.name, &more] {
        assert_eq!(partial.to.resolve(&ImageName::Ref(name.clone())).unwrap(), partial.digest);
        assert!(!partial.has(&format!("partial/refs/{name}")));
    }
    assert!(!partial.entry_path().exists() && partial.to.partial_image(&partial.digest).unwrap().is_none());
    // A crash before the end leaves the entry, which means nothing and goes with the next gc.
    fs::write(partial.entry_path(), text).unwrap();
    assert!(partial.to.partial_images().unwrap().images.is_empty());
    let report = partial.to.collect_partial(NOW).unwrap();
    assert!(report.kept == 0 && report.removed.is_empty() && !partial.entry_path().exists());
    assert_eq!(partial.add(), AddedPartial::Complete);
    assert!(!partial.entry_path().exists());
}

#[test]
fn damaged_entries_are_named_and_lose_no_object() {
    let partial = Partial::new();
    partial.fetch(3);
    fs::write(partial.entry_path(), "{\"version\":9}").unwrap();
    let check = partial.to.check_partial().unwrap();
    assert!(check.damages.len() == 1 && check.damages[0].found.contains("damaged"), "{check:?}");
    assert_eq!(partial.to.gc(NOW).unwrap().removed_objects, 0);
    assert_eq!(partial.add(), AddedPartial::Partial);
    assert!(partial.to.check_partial().unwrap().damages.is_empty());
    // The image itself is gone, as after the gc of a program that knows no partial images: it can be added again.
    fs::remove_file(partial.to.objects().path_of(&partial.digest)).unwrap();
    assert_eq!(partial.to.check_partial().unwrap().damages.len(), 1);
    partial.add();
    assert!(partial.to.check_partial().unwrap().damages.is_empty());
    // A name without an entry.
    fs::remove_file(partial.entry_path()).unwrap();
    assert!(partial.to.check_partial().unwrap().damages[0].found.contains("no partial image"));
    partial.to.collect_partial(NOW).unwrap();
    assert!(!partial.has("partial/refs/debian/13"));
}
