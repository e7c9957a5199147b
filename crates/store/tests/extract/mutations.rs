//! Damaged images: whichever byte is changed, extraction writes only to the target.

use std::fs;
use std::os::unix::fs::MetadataExt;

use libcomposefs_image::dump::{self, Parser};
use libcomposefs_image::erofs::check::check;
use libcomposefs_image::erofs::read::{ImageReader, load};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_store::extract::Options;
use libcomposefs_testkit::stats;

use crate::place::{Place, names, noise};

/// An image with a file of every type, and few names: the root's stubs are most of an image.
fn image(place: &Place) -> Vec<u8> {
    let digest = place.object(&noise(5000, 1));
    let path = digest.object_path();
    let text = format!(
        "/ 0 40755 2 0 0 0 1.0 - - -\n/d 0 40755 2 0 0 0 1.0 - - - user.a=b\n/d/e 0 40755 2 0 0 0 1.0 - - -\n\
         /d/e/f 3 100644 1 0 0 0 1.0 - abc -\n/d/link 0 @100644 1 0 0 0 0.0 /ext - -\n\
         /ext 5000 104755 2 70000 0 0 1.0 {path} - {digest} trusted.b=c\n/fifo 0 10644 1 0 0 0 1.0 - - -\n\
         /null 0 20644 1 0 0 259 1.0 - - -\n/sym 13 120777 1 0 0 0 1.0 ../outside/one - -\n\
         /up 10 120777 1 0 0 0 1.0 ../outside - -\n/wh 0 40755 2 0 0 0 1.0 - - -\n/wh/gone 0 20644 1 0 0 0 1.0 - - -\n\
         /any 5000 100644 1 0 0 0 1.0 {path} - -\n"
    );
    let mut parser = Parser::new(dump::Options::default());
    text.lines().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
    let tree = parser.finish().unwrap().tree;
    let mut bytes = Vec::new();
    Image::plan(&tree, Versions::exactly(1)).unwrap().write(&mut bytes).unwrap();
    bytes
}

/// Returns the visible state of the files that must not be touched, and of those beside the target.
fn outside(place: &Place) -> Vec<String> {
    let mut seen = names(place.dir.path());
    for name in ["outside", "outside/one", "objects"] {
        let stat = place.path(name).symlink_metadata().unwrap();
        seen.push(format!("{name} {:o} {} {} {}", stat.mode(), stat.uid(), stat.nlink(), stat.mtime_nsec()));
    }
    seen.push(fs::read_to_string(place.path("outside/one")).unwrap());
    seen
}

/// Counts of the results of a run.
#[derive(Default)]
struct Tally {
    tried: usize,
    extracted: usize,
    not_whole: usize,
}

/// Threads of a run: most of the time is spent in the kernel.
const THREADS: usize = 2;

/// Changes every byte of the image in turn: one of its bits, or to the most harmful value.
fn change_every_byte(share: usize, full: bool) -> Tally {
    let place = Place::new();
    let whole = image(&place);
    fs::create_dir(place.path("outside")).unwrap();
    fs::write(place.path("outside/one"), "sentinel").unwrap();
    fs::create_dir(place.path("out")).unwrap();
    let before = outside(&place);
    let options = Options { unverified: true, ..Options::default() };
    let mut tally = Tally::default();
    let mut bytes = whole.clone();
    for index in (share..whole.len()).step_by(THREADS) {
        let old = whole[index];
        let values: &[u8] =
            if full { &[old ^ 1, old ^ 0x80, 0, 0xff, b'.', b'/'] } else { &[old ^ (1 << (index % 8))] };
        for value in values {
            bytes[index] = *value;
            tally.tried += 1;
            let _ = check(&bytes);
            if let Ok(reader) = ImageReader::new(&bytes)
                && let Ok(loaded) = load(&reader, &[])
            {
                loaded.emit_dump(&reader, &mut Vec::new()).unwrap();
                let out = place.path("out/of");
                let outcome = place.extract_to(&loaded.tree, &out, &options).unwrap();
                tally.extracted += 1;
                tally.not_whole += usize::from(!outcome.is_whole());
                assert_eq!(outside(&place), before, "byte {index} as {value}");
                assert!(!names(&out).iter().any(|name| name.starts_with(".composefs")), "byte {index} as {value}");
                let _ = fs::remove_dir_all(&out);
                if out.exists() {
                    fs::rename(&out, place.path(&format!("out/{}", tally.tried))).unwrap();
                }
            }
        }
        bytes[index] = old;
    }
    tally
}

#[test]
fn whatever_byte_is_changed_nothing_outside_is() {
    let full = std::env::var_os("COMPOSEFS_FULL").is_some();
    let shares = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|share| scope.spawn(move || change_every_byte(share, full))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let sum = |of: fn(&Tally) -> usize| shares.iter().map(of).sum::<usize>();
    let (tried, extracted, not_whole) = (sum(|t| t.tried), sum(|t| t.extracted), sum(|t| t.not_whole));
    stats::show(&format!("damaged images: {tried} tried, {extracted} extracted, {not_whole} of them not whole"));
    assert!(extracted > tried / 10 && not_whole > 0, "{tried} tried, {extracted} extracted, {not_whole} not whole");
}
