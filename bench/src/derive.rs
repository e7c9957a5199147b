//! Derived images: 64,000 entries with one base and with a layer over it, and the proof; in memory and as programs.

use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use libcomposefs_image::derive::{Recipe, RecipeBase, RecipeStep};
use libcomposefs_image::dump::{Options, Parser};
use libcomposefs_image::erofs::{Image, Versions};
use libcomposefs_image::tree::Tree;
use libcomposefs_image::{Algorithm, verity};

use crate::Setting;
use crate::measure::{Candidate, by_turns, here};
use crate::report::Report;

const ENTRIES: usize = 64_000;
/// Seconds that are wanted at most.
const DERIVE: f64 = 0.060;
const PROVE: f64 = 0.100;

pub(crate) fn run(setting: &Setting, report: &mut Report) -> Result<()> {
    report.heading("Images derived of 64,000 entries");
    let (base, layer) = (tree(0, ENTRIES)?, tree(ENTRIES - 2000, 4000)?);
    let mut digests = Vec::new();
    for (name, tree) in [("base.img", &base), ("layer.img", &layer)] {
        let mut bytes = Vec::new();
        Image::plan(tree, Versions::exactly(1))?.write(&mut bytes)?;
        digests.push(verity::digest(Algorithm::Sha256, &bytes));
        fs::write(setting.scratch.join(name), bytes)?;
    }
    let recipe = |count: usize| {
        let mut recipe = Recipe::new(Algorithm::Sha256, 1);
        recipe.bases = digests[..count].iter().copied().map(RecipeBase::layer).collect();
        recipe.steps = vec![RecipeStep::ShiftIds { by: 100_000 }];
        recipe
    };
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let derive = |trees: &[&Tree]| -> Result<()> {
        let recipe = recipe(trees.len());
        let derived = recipe.apply(trees)?;
        recipe.plan(&derived)?.write_and_digest(recipe.algorithm, threads, &mut std::io::sink())?;
        Ok(())
    };
    let program = setting.composefs.canonicalize()?;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.current_dir(&setting.scratch).args(arguments);
        command
    };
    let line = ["derive", "base.img", "--shift-uids=100000", "--print-digest"];
    let output = command(&[&line[..], &["--write-recipe=recipe.json"]].concat()).output()?;
    ensure!(output.status.success(), "derive: {}", String::from_utf8_lossy(&output.stderr));
    let digest = String::from_utf8(output.stdout)?.trim_end().to_owned();
    let candidates = [
        Candidate::new("in memory, one base", |_| here(|| derive(&[&base]))),
        Candidate::new("in memory, a layer of 4000 over it", |_| here(|| derive(&[&base, &layer]))),
        Candidate::program("derive --print-digest, one base", || command(&line)),
        Candidate::program("derive --print-digest, two bases", || {
            command(&[&line[..2], &["+layer.img"], &line[2..]].concat())
        }),
        Candidate::program("prove", || command(&["prove", &digest, "--recipe=recipe.json", "--base=base.img"])),
    ];
    let series = by_turns(setting.rounds, &candidates)?;
    report.table(&series, 0);
    for (one, wanted) in series.iter().zip([DERIVE, DERIVE, DERIVE, DERIVE, PROVE]) {
        let what = format!("{}: {wanted} s over the time", one.name);
        // What is wanted of the library is reported of the program too.
        if one.name.starts_with("derive") {
            report.figure(what, wanted / one.wall());
        } else {
            report.goal(what, wanted / one.wall(), 1.0);
        }
    }
    Ok(())
}

/// A tree of some entries, 100 files in each directory; the first has the number `first`.
fn tree(first: usize, entries: usize) -> Result<Tree> {
    let mut text = String::from("/ 0 40755 2 0 0 0 1.0 - - -\n");
    for number in first..first + entries - 1 {
        let directory = number / 101;
        if number == first || number % 101 == 0 {
            writeln!(text, "/d{directory:04} 0 40755 2 0 0 0 1.0 - - - user.d=x")?;
        }
        if number != first && number % 101 != 0 {
            let digest = verity::digest(Algorithm::Sha256, &number.to_le_bytes());
            let (path, file) = (digest.object_path(), number % 101);
            writeln!(
                text,
                "/d{directory:04}/file{file:03} 5000 100644 1 {} 8 0 {number}.0 {path} - {digest}",
                file % 3
            )?;
        }
    }
    let mut parser = Parser::new(Options::default());
    text.lines().try_for_each(|line| parser.push_line(line.as_bytes())).context("the dump is wrong")?;
    Ok(parser.finish()?.tree)
}
