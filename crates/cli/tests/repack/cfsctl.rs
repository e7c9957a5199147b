//! Cold images beside cfsctl, which knows nothing of them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use libcomposefs_testkit::privilege;
use libcomposefs_testkit::skip;

use super::Place;

/// cfsctl on the repository of a place.
struct Peer<'p> {
    program: PathBuf,
    place: &'p Place,
}

impl<'p> Peer<'p> {
    /// Announces that the test is skipped if cfsctl is not installed.
    fn find(test: &str, place: &'p Place) -> Option<Self> {
        let peers = std::env::var_os("COMPOSEFS_PEERS").map(PathBuf::from);
        let program = peers.map(|dir| dir.join("cfsctl")).filter(|program| program.exists());
        if program.is_none() {
            skip::announce(test, "cfsctl 0.9.4 is not there: `cargo xtask peers --rust`");
        }
        program.map(|program| Self { program, place })
    }

    fn try_run(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        let output = command.arg("--insecure").arg("--repo").arg(self.place.repo()).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(text),
            false => Err(format!("{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        self.try_run(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The images that cfsctl meets, by their links.
    fn images(&self) -> Vec<String> {
        let names = fs::read_dir(self.place.repo().join("images")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "refs" && !name.starts_with('.')).collect()
    }

    /// Lists the objects of an image, and mounts it and reads all its files, if this user may mount.
    fn use_image(&self, image: &str) -> Result<(), String> {
        self.try_run(&["image-objects", image])?;
        if !privilege::is_root() {
            return Ok(());
        }
        let target = tempfile::tempdir().unwrap();
        self.try_run(&["mount", image, target.path().to_str().unwrap()])?;
        let files: Vec<_> = (0..30).map(|file| fs::read(target.path().join(format!("f{file}")))).collect();
        // A program that another thread starts has the files of this process open until it runs.
        let is_unmounted = |_| {
            let done = Command::new("umount").arg(target.path()).status().unwrap().success();
            if !done {
                std::thread::sleep(Duration::from_millis(20));
            }
            done
        };
        assert!((0..100).any(is_unmounted));
        let is_right = |version: u32| {
            let tree = self.place.tree_path(version);
            files.iter().enumerate().all(|(number, found)| {
                found.as_ref().is_ok_and(|found| *found == fs::read(tree.join(format!("f{number}"))).unwrap())
            })
        };
        if is_right(1) || is_right(2) { Ok(()) } else { Err(format!("{image}: {files:.200?}")) }
    }
}

#[test]
fn cfsctl_never_meets_a_cold_image() {
    let place = Place::new();
    let Some(peer) = Peer::find("cfsctl::cfsctl_never_meets_a_cold_image", &place) else { return };
    let check = |expected: usize| {
        assert!(peer.run(&["fsck"]).contains("ok") || peer.run(&["fsck", "--json"]).contains("true"));
        let images = peer.images();
        assert_eq!(images.len(), expected);
        images.iter().for_each(|image| peer.use_image(image).unwrap());
    };
    check(2);
    place.0.prints(&["repack", "--cold", "v1", "--base=v2"]);
    check(2);
    place.0.prints(&["gc", "--grace=0"]);
    check(1);
    // Without its own name, the base is kept by the one that cfsctl respects too.
    place.0.prints(&["untag", "v2"]);
    peer.run(&["gc"]);
    check(1);
    place.expect_warm(1);
    check(2);
}

#[test]
fn cfsctl_meets_whole_images_while_one_is_packed() {
    let place = Place::new();
    let Some(peer) = Peer::find("cfsctl::cfsctl_meets_whole_images_while_one_is_packed", &place) else { return };
    let repack = || {
        for _ in 0..3 {
            place.0.prints(&["repack", "--cold", "v1", "--base=v2"]);
            place.0.prints(&["gc", "--grace=0"]);
            place.0.prints(&["repack", "--warm", "v1"]);
        }
    };
    std::thread::scope(|scope| {
        let running = scope.spawn(repack);
        while !running.is_finished() {
            for image in peer.images() {
                let Err(error) = peer.use_image(&image) else { continue };
                // Gc has removed it after it was listed, and it may be back by now.
                let was_removed = error.contains("image not found") || !peer.images().contains(&image);
                assert!(was_removed || peer.use_image(&image).is_ok(), "{error}");
            }
        }
        running.join().unwrap();
    });
    assert_eq!(peer.images().len(), 2);
    place.expect_warm(1);
}
