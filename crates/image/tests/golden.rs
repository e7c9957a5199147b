//! The golden corpus: every good dump gives the reference's bytes, every bad one its refusal.

use std::num::NonZeroUsize;

use libcomposefs_image::dump::{self, DumpError, Parsed, Parser};
use libcomposefs_image::erofs::read::{ImageReader, Order, load};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::{Algorithm, verity};
use libcomposefs_testkit::golden;
use sha2::{Digest as _, Sha256};

fn parse(text: &[u8]) -> Result<Parsed, DumpError> {
    let mut parser = Parser::new(dump::Options::default());
    let lines = text.strip_suffix(b"\n").unwrap_or(text);
    if !text.is_empty() {
        for line in lines.split(|&b| b == b'\n') {
            parser.push_line(line)?;
        }
    }
    parser.finish()
}

fn image(parsed: &Parsed, version: u32) -> Vec<u8> {
    let image = Image::plan(&parsed.tree, Versions::exactly(version)).unwrap();
    let mut bytes = Vec::new();
    image.write(&mut bytes).unwrap();
    assert_eq!(image.len(), bytes.len() as u64);
    let digest = verity::digest(Algorithm::Sha256, &bytes);
    assert_eq!(image.digest(Algorithm::Sha256), digest);
    for threads in [1, 3] {
        let mut again = Vec::new();
        let threads = NonZeroUsize::new(threads).unwrap();
        assert_eq!(image.write_and_digest(Algorithm::Sha256, threads, &mut again).unwrap(), digest);
        assert!(again == bytes, "on {threads} threads");
    }
    bytes
}

#[test]
fn good_dumps_give_the_recorded_images() {
    let corpus = golden::good();
    assert_eq!(corpus.len(), 116);
    let mut wrong = Vec::new();
    for case in &corpus {
        let parsed = match parse(&case.dump) {
            Ok(parsed) => parsed,
            Err(error) => {
                wrong.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        for (version, want) in case.images.iter().enumerate() {
            let bytes = image(&parsed, version as u32);
            let got = golden::GoldenImage {
                len: bytes.len() as u64,
                sha256: Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect(),
                verity: verity::digest(Algorithm::Sha256, &bytes).to_hex(),
            };
            if got != *want {
                wrong.push(format!("{} version {version}: got {got:?}, want {want:?}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), 2 * corpus.len(), wrong.join("\n"));
}

#[test]
fn the_version_rises_only_for_whiteouts() {
    for case in golden::good() {
        let parsed = parse(&case.dump).unwrap();
        let image = Image::plan(&parsed.tree, Versions::default()).unwrap();
        let raised = case.name.starts_with("mixed-")
            || case.name.starts_with("whiteout-") && case.name != "whiteout-chr-not-zero";
        assert_eq!(image.format_version(), u32::from(raised), "{}", case.name);
        assert_eq!(image.digest(Algorithm::Sha256).to_hex(), case.images[usize::from(raised)].verity, "{}", case.name);
    }
}

#[test]
fn emitted_dumps_give_the_same_images() {
    for case in golden::good() {
        let mut text = Vec::new();
        dump::emit(&parse(&case.dump).unwrap().tree, &mut text).unwrap();
        let again = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        for (version, want) in case.images.iter().enumerate() {
            let digest = verity::digest(Algorithm::Sha256, &image(&again, version as u32));
            assert_eq!(digest.to_hex(), want.verity, "{} version {version}", case.name);
        }
        let mut twice = Vec::new();
        dump::emit(&again.tree, &mut twice).unwrap();
        assert_eq!(text, twice, "{}", case.name);
    }
}

#[test]
fn images_read_back_to_the_same_bytes() {
    let (mut images, mut with_links) = (0, 0);
    for case in golden::good() {
        let parsed = parse(&case.dump).unwrap();
        for version in [0, 1] {
            let name = format!("{} version {version}", case.name);
            let bytes = image(&parsed, version);
            let reader = ImageReader::new(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
            let loaded = load(&reader, &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_ne!(loaded.order, Order::Other, "{name}");
            with_links += u32::from(loaded.order == Order::BreadthFirst);
            let mut again = Vec::new();
            Image::plan(&loaded.tree, Versions::exactly(version)).unwrap().write(&mut again).unwrap();
            assert!(bytes == again, "{name}: the bytes differ");
            images += 1;
        }
    }
    assert!(images == 232 && with_links > 10, "{images} images, {with_links} with hard links");
}

#[test]
fn bad_dumps_are_refused_with_the_recorded_words() {
    let corpus = golden::bad();
    assert_eq!(corpus.len(), 50);
    for case in &corpus {
        let message = match parse(&case.dump) {
            Err(error) => error.to_string(),
            Ok(parsed) => match Image::plan(&parsed.tree, Versions::default()) {
                Err(error) => {
                    let line = parsed.lines.line_of(error.inode().expect("all of these are one inode's fault"));
                    format!("line {line}, field: cannot write file: {error}")
                }
                Ok(_) => panic!("{} was accepted", case.name),
            },
        };
        let words = case.message.as_deref().unwrap_or("Directories can't be hardlinked");
        assert!(message.contains(words), "{}: {message:?} lacks {words:?}", case.name);
        assert!(message.starts_with("line ") && message.contains(", field"), "{}: {message:?}", case.name);
    }
}
