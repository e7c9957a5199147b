//! Every dump that is accepted keeps its meaning: written again it gives the same text and the same images.
#![no_main]

use composefs_fuzz::{Budget, Linear, parse, read, write};
use libcomposefs_image::Algorithm;
use libcomposefs_image::dump::{self, Options, Parsed};
use libcomposefs_image::erofs::format_version::PROFILES;
use libcomposefs_image::tree::Tree;
use libfuzzer_sys::fuzz_target;

static BUDGET: Budget = Budget::new(
    "dump_image_dump",
    Linear { base: 4 << 20, per_byte: 200 },
    Linear { base: 200_000_000, per_byte: 20_000 },
);

fuzz_target!(|text: &[u8]| BUDGET.check(text.len(), || there_and_back(text)));

fn there_and_back(text: &[u8]) {
    // Few dumps suit both algorithms, and those have no digests.
    let read = |algorithm| Some((algorithm, parse(Options { algorithm, strict: false }, text).ok()?));
    if let Some((algorithm, parsed)) = Algorithm::ALL.into_iter().find_map(read) {
        round_trip(algorithm, &parsed.tree);
    }
}

fn round_trip(algorithm: Algorithm, tree: &Tree) {
    let text = emit(tree);
    let again = match parse(Options { algorithm, strict: true }, &text) {
        Ok(Parsed { tree, .. }) => tree,
        // The one case that the format leaves out of reach: escaped, the attributes are too long for a line.
        Err(error) if error.message == "Too many xattrs" => return,
        Err(error) => panic!("what was written is refused: {error}"),
    };
    assert_eq!((again.inode_count(), again.entry_count()), (tree.inode_count(), tree.entry_count()));
    assert!(emit(&again) == text, "the text changes when it is read and written");
    for version in PROFILES.map(|profile| profile.format_version) {
        let image = write(tree, version);
        assert!(image == write(&again, version), "the image of version {version} changes");
        if let Some(image) = image {
            let read = read(&image).unwrap_or_else(|error| panic!("what was written is refused: {error}"));
            assert!(
                write(&read.tree, version) == Some(image),
                "the image of version {version} changes when it is read"
            );
        }
    }
}

fn emit(tree: &Tree) -> Vec<u8> {
    let mut text = Vec::new();
    dump::emit(tree, &mut text).expect("memory takes all");
    text
}
