//! Contents without damage.

use std::fs::File;
use std::os::unix::fs::FileExt;

use libcomposefs_fuse::Trust;
use libcomposefs_image::Algorithm;
use libcomposefs_image::tree::{InodeId, NewInode, TreeBuilder};
use rustix::fs::{Advice, fadvise};

use crate::fixture::{Place, bytes, directory, read, tree_of};

/// Lengths around the limits at which the server changes its way: a block, whole reads, pieces, kept contents.
const LENGTHS: &[usize] = &[
    65,
    4095,
    4096,
    4097,
    65_536,
    65_537,
    131_072,
    131_073,
    262_144,
    262_145,
    524_288,
    524_289,
    1_300_000,
    8 << 20,
    (8 << 20) + 1,
    9_999_999,
];

pub(super) fn are_those_of_the_objects() {
    for algorithm in Algorithm::ALL {
        for trust in [Trust::Verify, Trust::Insecure] {
            let place = Place::new();
            let contents: Vec<_> = LENGTHS.iter().map(|&len| (len.to_string(), bytes(len, len as u32))).collect();
            let files: Vec<_> = contents
                .iter()
                .map(|(name, content)| (name.as_str(), content.len() as u64, place.store(algorithm, content)))
                .collect();
            let mounted = place.mount(&tree_of(algorithm, files), trust);
            for (name, content) in &contents {
                assert!(read(&mounted.path(name)).as_ref() == Ok(content), "{algorithm} {name}");
            }
            assert_eq!(mounted.failures.take(), [""; 0]);
        }
    }
}

pub(super) fn any_range_is_right() {
    let place = Place::new();
    let contents: Vec<_> = LENGTHS.iter().map(|&len| (len.to_string(), bytes(len, 7 + len as u32))).collect();
    let algorithm = Algorithm::Sha256;
    let files: Vec<_> = contents
        .iter()
        .map(|(name, content)| (name.as_str(), content.len() as u64, place.store(algorithm, content)))
        .collect();
    let mounted = place.mount(&tree_of(algorithm, files), Trust::Verify);
    let mut state = 1u64;
    for (name, content) in &contents {
        let file = File::open(mounted.path(name)).unwrap();
        // The kernel then asks for what is read, and for nothing around it.
        fadvise(&file, 0, None, Advice::Random).unwrap();
        for _ in 0..40 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % (content.len() + 10);
            let len = (state >> 13) as usize % 20_000;
            let mut found = vec![0; len];
            let count = file.read_at(&mut found, at as u64).unwrap();
            let expected = content.get(at..).unwrap_or_default();
            let expected = &expected[..expected.len().min(len)];
            assert!(found[..count] == *expected, "{name}: {len} bytes at {at}");
        }
    }
}

pub(super) fn in_the_image_are_read() {
    let place = Place::new();
    let mut builder = TreeBuilder::new(Algorithm::Sha256, &directory()).unwrap();
    let contents: Vec<_> = [1, 64, 2000, 4096, 4097, 5000].map(|len| (format!("f{len}"), bytes(len, 3))).into();
    for (name, content) in &contents {
        let size = content.len() as u64;
        let file = NewInode { mode: 0o100_644, size, content: Some(content), ..NewInode::default() };
        builder.add(InodeId::ROOT, name.as_bytes(), &file).unwrap();
    }
    builder.add(InodeId::ROOT, b"empty", &NewInode { mode: 0o100_644, ..NewInode::default() }).unwrap();
    let mounted = place.mount(&builder.finish_with_counted_links(), Trust::Verify);
    for (name, content) in &contents {
        assert!(read(&mounted.path(name)).as_ref() == Ok(content), "{name}");
        let mut part = [0; 10];
        let count = File::open(mounted.path(name)).unwrap().read_at(&mut part, 4).unwrap();
        assert_eq!(part[..count], content.get(4..content.len().min(14)).unwrap_or_default()[..], "{name} from 4 on");
    }
    assert_eq!(read(&mounted.path("empty")), Ok(Vec::new()));
}

pub(super) fn many_threads_read_one_object() {
    for len in [3 << 20, 20 << 20] {
        let place = Place::new();
        let content = bytes(len, 11);
        let digest = place.store(Algorithm::Sha256, &content);
        let mounted = place.mount(&tree_of(Algorithm::Sha256, [("one", len as u64, digest)]), Trust::Verify);
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let (content, path) = (&content, mounted.path("one"));
                scope.spawn(move || {
                    let file = File::open(path).unwrap();
                    let mut piece = vec![0; 100_000];
                    for step in 0..20 {
                        let at = (thread * 977 + step * 331) * 4099 % (len - piece.len());
                        file.read_exact_at(&mut piece, at as u64).unwrap();
                        assert!(piece == content[at..at + piece.len()], "{len} at {at}");
                    }
                });
            }
        });
    }
}
