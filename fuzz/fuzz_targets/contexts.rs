//! Hostile SELinux policies: every one is either refused or gives labels, in time and memory that its length justifies.
//! The input is `file_contexts`, substitutions and paths, with a NUL between them; a path is on each line.
#![no_main]

use composefs_fuzz::{Budget, Linear};
use libcomposefs_image::tree::Kind;
use libcomposefs_selinux::{Contexts, Labels, PolicyFile, PolicyFiles};
use libfuzzer_sys::fuzz_target;

// A repetition in a pattern becomes states of an automaton, which has a limit of its own.
static BUDGET: Budget = Budget::new(
    "contexts",
    Linear { base: 320 << 20, per_byte: 64 << 10 },
    Linear { base: 4_000_000_000, per_byte: 1_000_000 },
);

const KINDS: [Kind; 7] =
    [Kind::Regular, Kind::Directory, Kind::Symlink, Kind::CharDevice, Kind::BlockDevice, Kind::Fifo, Kind::Socket];

fuzz_target!(|input: &[u8]| BUDGET.check(input.len(), || read(input)));

fn read(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let mut file =
        |path: &str| PolicyFile { path: path.to_owned(), content: parts.next().unwrap_or_default().to_vec() };
    let (rules, aliases) = (file("file_contexts"), file("file_contexts.subs"));
    let paths = file("paths").content;
    let Ok(contexts) = Contexts::compile(&PolicyFiles { contexts: vec![rules], substitutions: vec![aliases] }) else {
        return;
    };
    let mut labels = Labels::new(&contexts);
    for (path, kind) in paths.split(|byte| *byte == b'\n').take(16).zip(KINDS.iter().cycle()) {
        let path = [b"/", path].concat();
        let Ok(first) = labels.label(&path, *kind) else { return };
        // What was looked up before has no effect.
        assert_eq!(Labels::new(&contexts).label(&path, *kind).ok(), Some(first));
    }
}
