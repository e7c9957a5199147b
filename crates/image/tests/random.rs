//! Random trees keep everything through the builder, the dump text and back.

use libcomposefs_image::Algorithm;
use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::tree::Tree;
use libcomposefs_testkit::random::models;
use proptest::prelude::*;

fn parse(algorithm: Algorithm, text: &[u8]) -> Tree {
    let mut parser = Parser::new(dump::Options { algorithm, strict: false });
    for line in text.strip_suffix(b"\n").unwrap().split(|&b| b == b'\n') {
        parser.push_line(line).unwrap();
    }
    parser.finish().unwrap().tree
}

fn emit(tree: &Tree) -> Vec<u8> {
    let mut text = Vec::new();
    dump::emit(tree, &mut text).unwrap();
    text
}

fn image(tree: &Tree, version: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    Image::plan(tree, Versions::exactly(version)).unwrap().write(&mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn tree_dump_tree(
        model in prop_oneof![models(Algorithm::Sha256, 60), models(Algorithm::Sha512, 20)]
    ) {
        let algorithm = model.algorithm;
        let built = model.build();
        model.check(&built).map_err(TestCaseError::fail)?;
        let parsed = parse(algorithm, &model.dump());
        model.check(&parsed).map_err(TestCaseError::fail)?;
        let text = emit(&built);
        prop_assert_eq!(&text, &emit(&parsed));
        let again = parse(algorithm, &text);
        model.check(&again).map_err(TestCaseError::fail)?;
        for version in [0, 1] {
            let bytes = image(&built, version);
            prop_assert_eq!(&bytes, &image(&again, version));
            let loaded = load(&ImageReader::new(&bytes).unwrap(), &[]).unwrap();
            prop_assert_eq!(bytes, image(&loaded.tree, version));
        }
    }
}
