//! A repository of many objects: opening it, listing its images, finding the objects that nothing needs.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libcomposefs_image::digest::Digest;
use libcomposefs_image::dump::{Options, Parser};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::{Algorithm, verity};

use crate::Setting;
use crate::cost::Cost;
use crate::report::Report;

const COUNTS: [u64; 3] = [10_000, 100_000, 1_000_000];
const IMAGES: u64 = 200;

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    for count in COUNTS {
        report.heading(&format!("A repository of {count} objects and {IMAGES} images"));
        let repository = setting.scratch.join("repository");
        make(setting, &repository, count)?;
        println!("| command | median s | CPU s | memory |\n|---|---|---|---|");
        let cost = |arguments: &[&str]| -> Result<Cost> {
            let cost = measure(setting, &repository, arguments)?;
            let Cost { wall, cpu, memory } = cost;
            println!("| {} | {wall:.3} | {cpu:.3} | {memory:.0} MB |", arguments.join(" "));
            Ok(cost)
        };
        let open = cost(&["mount", "image/7", "/", "--dry-run"])?;
        let images = cost(&["images"])?;
        let gc = cost(&["gc", "--dry-run"])?;
        println!();
        if count == COUNTS[COUNTS.len() - 1] {
            report.goal("50 ms over opening the largest", 0.050 / open.wall, 1.0);
            report.goal("100 ms over listing the images of the largest", 0.100 / images.wall, 1.0);
            report.goal("3 s over the CPU time of marking the largest", 3.0 / gc.cpu, 1.0);
            report.goal("100 MB over the memory for it", 100.0 / gc.memory, 1.0);
        }
        fs::remove_dir_all(&repository)?;
    }
    Ok(())
}

/// Images each of objects of their own and some of the next one's. The objects are empty: gc does not look into them.
fn make(setting: &Setting, repository: &Path, count: u64) -> Result<()> {
    let made = Command::new(&setting.composefs).arg("init").arg("--insecure").arg(repository).status()?;
    ensure!(made.success(), "cannot make a repository");
    for first in 0..=255u8 {
        fs::create_dir_all(repository.join(format!("objects/{first:02x}")))?;
    }
    fs::create_dir(repository.join("images/refs/image"))?;
    let object = |number: u64| verity::digest(Algorithm::Sha256, &(number % count).to_le_bytes());
    for number in 0..count {
        File::create(repository.join("objects").join(object(number).object_path()))?;
    }
    let own = count / IMAGES;
    for image in 0..IMAGES {
        let objects = (image * own..(image + 1) * own + own / 4).map(object);
        let (digest, bytes) = write_image(objects)?;
        fs::write(repository.join("objects").join(digest.object_path()), bytes)?;
        symlink(format!("../objects/{}", digest.object_path()), repository.join("images").join(digest.to_hex()))?;
        symlink(format!("../../{digest}"), repository.join(format!("images/refs/image/{image}")))?;
    }
    Ok(())
}

fn write_image(objects: impl Iterator<Item = Digest>) -> Result<(Digest, Vec<u8>)> {
    let mut parser = Parser::new(Options::default());
    parser.push_line(b"/ 0 40755 2 0 0 0 1700000000.0 - - -")?;
    for (number, object) in objects.enumerate() {
        let mut line = Vec::new();
        let path = object.object_path();
        write!(line, "/a-file-{number} 5000 100644 1 0 0 0 1700000000.0 {path} - {object}")?;
        parser.push_line(&line)?;
    }
    let tree = parser.finish().context("the dump has a root")?.tree;
    let mut bytes = Vec::new();
    Image::plan(&tree, Versions::default())?.write(&mut bytes)?;
    Ok((verity::digest(Algorithm::Sha256, &bytes), bytes))
}

fn measure(setting: &Setting, repository: &Path, arguments: &[&str]) -> Result<Cost> {
    let mut command = Command::new(&setting.composefs);
    command.arg("--repo").arg(repository).args(arguments);
    // The first run does not count.
    let runs: Vec<Cost> = (0..=setting.rounds).map(|_| Cost::of(&command)).collect::<Result<_>>()?;
    Ok(Cost::median(&runs[1..]))
}
