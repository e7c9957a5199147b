//! The sink that collects all contents.

mod support;

use std::fs;

use libcomposefs_content::NoProgress;
use libcomposefs_image::Algorithm;
use libcomposefs_image::tree::{Data, InodeId};
use libcomposefs_image::verity::digest;
use libcomposefs_scan::{CollectAll, Options, scan};

use support::options;

#[test]
fn both_digests_and_small_contents_come_from_one_scan() {
    let dir = tempfile::tempdir().unwrap();
    let lens = [0, 1, 64, 65, 4096, 65_536, 65_537, 300_000];
    let content = |len: usize| (0..len).map(|i| (i * 7 + len) as u8).collect::<Vec<_>>();
    for len in lens {
        fs::write(dir.path().join(len.to_string()), content(len)).unwrap();
        fs::write(dir.path().join(format!("{len}-again")), content(len)).unwrap();
    }
    for algorithm in Algorithm::ALL {
        for (both, threads) in [(true, 1), (true, 3), (false, 2)] {
            let sink = CollectAll::new(algorithm, both, 64);
            let options = Options { algorithm, inline_max: 0, ..options(threads) };
            let tree = scan(dir.path(), &options, &sink, &NoProgress).unwrap();
            let contents = sink.into_contents();
            for len in lens {
                let inode = tree.inode(tree.child(InodeId::ROOT, len.to_string().as_bytes()).unwrap().inode);
                let Data::Regular { content: None, digest: own, .. } = inode.data() else { panic!("{len}: {inode:?}") };
                let Some(own) = own else {
                    assert_eq!(len, 0);
                    continue;
                };
                let content = content(len);
                assert_eq!(own, digest(algorithm, &content));
                let kept = (len <= 64).then_some(&content[..]);
                assert_eq!(contents.content(&own), kept, "{len}");
                for other in Algorithm::ALL {
                    let is_known = both || other == algorithm || len <= 64;
                    let want = is_known.then(|| digest(other, &content));
                    assert_eq!(contents.digest(&own, other), want, "{len} {algorithm} {other} {both}");
                }
            }
        }
    }
}
