//! Runs the commands that inspect an image on images with one damaged byte: each must print something or report an
//! error, and end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use libcomposefs_image::dump::{self, Parser as DumpParser};
use libcomposefs_image::erofs::{Image, Versions};

use super::repository::RepositoryArgs;
use super::{Command, Composefs, cat, du, find, ls, stat};
use crate::inspect::failures::Failures;

/// A tree with every kind of inode and storage.
const DUMP: &str = "\
/ 0 40755 2 0 0 0 1.0 - - -
/d 0 40755 2 0 0 0 1.0 - - - user.a=b user.shared=0123456789abcdef
/d/e 0 40755 2 0 0 0 1.0 - - -
/d/e/f 3 100644 1 0 0 0 1.0 - abc -
/d/link 0 @100644 1 0 0 0 0.0 /file - -
/ext 10 100644 1 0 0 0 1.0 aa/bb - \
cc3da5b14909626fc99443f580e4d8c9b990e85e0a1d18883dc89b23d43e173f user.shared=0123456789abcdef
/ext2 50000000000000 100644 1 0 0 0 1.0 - - -
/fifo 0 10644 1 0 0 0 1.0 - - -
/file 5 100644 2 70000 0 0 -1.0 - hello - user.shared=0123456789abcdef
/null 0 20644 1 0 0 259 1.0 - - -
/sym 6 120777 1 0 0 0 1.0 d/e - -
/wh 0 40755 2 0 0 0 1.0 - - -
/wh/gone 0 20644 1 0 0 0 1.0 - - - user.shared=0123456789abcdef
";

/// Command lines, with `IMAGE` for the image and `OBJECTS` for an object directory.
const LINES: [&str; 8] = [
    "ls -lRH IMAGE",
    "ls --json IMAGE / d wh sym d/e/f",
    "stat IMAGE",
    "stat IMAGE / d wh/gone sym/f ext ext2 file null",
    "stat --json IMAGE / d wh wh/gone ext d/link",
    "cat IMAGE d/link ext sym/f wh/gone null ext2 --basedir OBJECTS --unverified",
    "find IMAGE -l --xattr user.shared --older 2024-01-01",
    "du IMAGE --basedir OBJECTS",
];

fn image() -> Vec<u8> {
    let mut parser = DumpParser::new(dump::Options::default());
    DUMP.lines().for_each(|line| parser.push_line(line.as_bytes()).unwrap());
    let tree = parser.finish().unwrap().tree;
    let mut bytes = Vec::new();
    Image::plan(&tree, Versions::exactly(1)).unwrap().write(&mut bytes).unwrap();
    bytes
}

fn parse(line: &str, dir: &Path) -> Command {
    let words = line.split(' ').map(|word| match word {
        "IMAGE" => dir.join("image").into_os_string(),
        "OBJECTS" => dir.join("objects").into_os_string(),
        word => word.into(),
    });
    Composefs::parse_from(std::iter::once("composefs".into()).chain(words)).command
}

/// Runs a command. Returns the length of its output, and whether it reported a failure.
fn run(command: &Command) -> (usize, bool) {
    let none = RepositoryArgs::default();
    let (mut failures, mut out) = (Failures::default(), Vec::new());
    let done = match command {
        Command::Ls(args) => args.run(&none, |args, selected| ls::list(args, selected, &mut failures, &mut out)),
        Command::Stat(args) => args.run(&none, |args, selected| stat::show(args, selected, &mut failures, &mut out)),
        Command::Cat(args) => args.run(&none, |args, selected| cat::print(args, selected, &mut failures, &mut out)),
        Command::Find(args) => args.run(&none, |args, selected| find::find(args, selected, &mut failures, &mut out)),
        Command::Du(args) => args.run(&none, |args, selected| du::measure(args, selected, &mut failures, &mut out)),
        _ => panic!("the command is not in the list"),
    };
    // Images have megabytes at most, and so have the sums of their sizes as text.
    assert!(out.len() < 1 << 20, "{}", out.len());
    let failed = done.is_err();
    if let Err(error) = done {
        failures.add(&error);
    }
    (out.len(), failed || !failures.is_empty())
}

#[test]
fn every_command_ends_with_any_damaged_byte() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("objects/aa")).unwrap();
    fs::write(dir.path().join("objects/aa/bb"), "content_a\n").unwrap();
    let image = image();
    fs::write(dir.path().join("image"), &image).unwrap();
    // Parsing takes longer than running.
    let commands = LINES.map(|line| parse(line, dir.path()));
    let whole = commands.each_ref().map(run);
    // Only an inode without content cannot be printed.
    assert_eq!(whole.map(|(_, complained)| complained), [false, false, false, false, false, true, false, false]);
    assert!(whole.iter().all(|(len, _)| *len > 0), "{whole:?}");

    // Testing every byte takes minutes: tests some bytes, in turns, unless all are requested.
    let full = std::env::var_os("COMPOSEFS_FULL").is_some();
    let mut noticed = [0; LINES.len()];
    let mut longest = Duration::ZERO;
    for offset in (0..image.len()).step_by(if full { 1 } else { 3 }) {
        let mut damaged = image.clone();
        damaged[offset] ^= if offset % 2 == 0 { 0x01 } else { 0xff };
        fs::write(dir.path().join("image"), &damaged).unwrap();
        for (index, command) in commands.iter().enumerate() {
            if full || offset % LINES.len() == index {
                let start = Instant::now();
                noticed[index] += usize::from(run(command) != whole[index]);
                longest = longest.max(start.elapsed());
            }
        }
    }
    assert!(noticed.iter().all(|noticed| *noticed > 1), "{noticed:?}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}
