//! The digest of an image that is compared before a mount is that of the open file, whatever its path leads to by then.

use std::fs;
use std::os::fd::AsFd;

use libcomposefs_repo::{Repository, RepositoryError};

use crate::place::Place;

#[test]
fn an_open_image_is_compared_and_not_its_path() {
    let place = Place::new(3);
    let repository = Repository::open(&place.path("repo")).unwrap();
    let digest = place.images[0];
    let path = repository.objects().path_of(&digest);
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let replace = |content: &[u8]| {
        let other = path.with_extension("new");
        fs::write(&other, content).unwrap();
        fs::rename(&other, &path).unwrap();
    };

    let open = repository.open_image(&digest).unwrap();
    replace(&damaged);
    assert_eq!(repository.read_open_image(&digest, open.as_fd()).unwrap().bytes, whole);
    assert!(matches!(repository.read_image(&digest), Err(RepositoryError::ImageObject { .. })));

    let open = repository.open_image(&digest).unwrap();
    replace(&whole);
    assert!(matches!(repository.read_open_image(&digest, open.as_fd()), Err(RepositoryError::ImageObject { .. })));
    // Twice, as the position of the file does not count.
    let open = repository.open_image(&digest).unwrap();
    for _ in 0..2 {
        assert_eq!(repository.read_open_image(&digest, open.as_fd()).unwrap().bytes, whole);
    }
}
