//! Man pages: of `composefs` and its commands from their `--help`, of the programs of the C tools from theirs, of
//! formats and mounts from the pages in `docs/`.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use roff::{Inline, Roff, bold, italic, roman};

use crate::{paths, process};

/// Programs, their sections, what they do in a line.
const PROGRAMS: &[(&str, u8, &str)] = &[
    ("mkcomposefs", 1, "make a composefs image of a directory or a dump"),
    ("composefs-info", 1, "look into composefs images"),
    ("composefs-fuse", 1, "mount a composefs image in user space"),
    ("composefs-dump", 1, "write a composefs image anew, from its own content"),
];
/// Pages of `docs/`, the names and sections they get, what they are about.
const PAGES: &[(&str, &str, u8, &str)] = &[
    ("docs/mount.md", "mount.composefs", 8, "mount a composefs image"),
    ("docs/boot.md", "composefs-setup-root", 8, "boot from a composefs image"),
    ("docs/format/dump.md", "composefs-dump", 5, "composefs images as text"),
    ("docs/format/image.md", "composefs-image", 5, "composefs images, byte by byte"),
    ("docs/format/object-store.md", "composefs-objects", 5, "directories of objects named by digests"),
    ("docs/format/repository.md", "composefs-repository", 5, "repositories of composefs images"),
    ("docs/format/bundle.md", "composefs-bundle", 5, "images and objects in one file"),
    ("docs/format/ostree.md", "composefs-ostree", 5, "ostree repositories, as composefs reads them"),
];

/// Writes all pages, compressed, below `share/man`.
pub(super) fn write(program: &Path, dir: &Path) -> Result<()> {
    let commands = dir.join("man1");
    process::output(Command::new(program).arg("man-pages").arg(&commands))?;
    for (name, section, about) in PROGRAMS {
        let help = process::text(Command::new(program).arg0(name).arg("--help"))?;
        page(dir, name, *section, about, |roff| preformatted(roff, "SYNOPSIS", &help))?;
    }
    for (file, name, section, about) in PAGES {
        let text = fs::read_to_string(paths::checkout().join(file)).with_context(|| format!("cannot read {file}"))?;
        page(dir, name, *section, about, |roff| Page { roff, line: Vec::new() }.write(&text))?;
    }
    for section in fs::read_dir(dir)? {
        for file in fs::read_dir(section?.path())? {
            process::output(Command::new("gzip").args(["-9n"]).arg(file?.path()))?;
        }
    }
    Ok(())
}

fn page(dir: &Path, name: &str, section: u8, about: &str, body: impl FnOnce(&mut Roff)) -> Result<()> {
    let folder = dir.join(format!("man{section}"));
    fs::create_dir_all(&folder)?;
    let mut roff = Roff::new();
    roff.control("TH", [name, &section.to_string(), "", "composefs", ""]);
    roff.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    body(&mut roff);
    let text = roff.render();
    ensure!(text.lines().count() > 10, "the page {name} has nothing in it");
    Ok(fs::write(folder.join(format!("{name}.{section}")), text)?)
}

/// A text as it is.
fn preformatted(roff: &mut Roff, heading: &str, text: &str) {
    roff.control("SH", [heading]);
    lines(roff, text);
}

fn lines(roff: &mut Roff, text: &str) {
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

/// A page of Markdown on its way to roff. Code stands as it is written.
struct Page<'r> {
    roff: &'r mut Roff,
    line: Vec<Inline>,
}

impl Page<'_> {
    fn write(mut self, text: &str) {
        let mut code = None;
        let mut is_strong = false;
        let mut options = Options::empty();
        options.insert(Options::ENABLE_TABLES);
        let mut table_end = 0;
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            if range.start < table_end {
                continue;
            }
            match event {
                Event::Start(Tag::Table(_)) => {
                    table_end = range.end;
                    self.flush();
                    self.table(&text[range]);
                }
                Event::Start(Tag::CodeBlock(_)) => code = Some(String::new()),
                Event::End(TagEnd::CodeBlock) => {
                    self.roff.control("PP", []).control("RS", ["4"]);
                    lines(self.roff, &code.take().unwrap_or_default());
                    self.roff.control("RE", []);
                }
                Event::Text(piece) => match &mut code {
                    Some(code) => code.push_str(&piece),
                    None if is_strong => self.line.push(bold(piece.as_ref())),
                    None => self.line.push(roman(piece.as_ref())),
                },
                Event::Code(piece) => self.line.push(bold(piece.as_ref())),
                Event::SoftBreak | Event::HardBreak => self.line.push(roman(" ")),
                Event::Start(Tag::Strong) => is_strong = true,
                Event::End(TagEnd::Strong) => is_strong = false,
                Event::Start(Tag::Emphasis) => self.line.push(italic("")),
                Event::Start(Tag::Paragraph) => {
                    self.roff.control("PP", []);
                }
                Event::Start(Tag::Item) => {
                    self.flush();
                    self.roff.control("IP", ["*", "2"]);
                }
                Event::End(TagEnd::Paragraph | TagEnd::Item) => self.flush(),
                Event::End(TagEnd::Heading(level)) => {
                    let heading: String = self
                        .line
                        .drain(..)
                        .map(|piece| match piece {
                            Inline::Roman(text) | Inline::Bold(text) | Inline::Italic(text) => text,
                            Inline::LineBreak => " ".to_owned(),
                        })
                        .collect();
                    match level {
                        // The title of the page has a section of its own, with the name.
                        HeadingLevel::H1 => self.roff.control("SH", ["DESCRIPTION"]),
                        HeadingLevel::H2 => self.roff.control("SH", [heading.to_uppercase().as_str()]),
                        _ => self.roff.control("SS", [heading.as_str()]),
                    };
                }
                _ => {}
            }
        }
        self.flush();
    }

    /// Each row as a term and what is said of it; of more columns with their names.
    fn table(&mut self, text: &str) {
        let cells = |line: &str| -> Vec<String> {
            let plain = line.trim().trim_matches('|').replace("\\|", "\u{1}").replace('`', "");
            plain.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect()
        };
        let mut rows = text.lines();
        let names = rows.next().map(cells).unwrap_or_default();
        for row in rows.skip(1) {
            let row = cells(row);
            let Some((term, rest)) = row.split_first() else { continue };
            let named = |(at, cell): (usize, &String)| match names
                .get(at + 1)
                .filter(|name| !name.is_empty() && rest.len() > 1)
            {
                Some(name) => format!("{name}: {cell}"),
                None => cell.clone(),
            };
            let said: Vec<_> = rest.iter().enumerate().filter(|(_, cell)| !cell.is_empty()).map(named).collect();
            self.roff.control("TP", []).text([bold(if term.is_empty() { " " } else { term })]);
            self.roff.text([roman(said.join("; "))]);
        }
    }

    fn flush(&mut self) {
        if !self.line.is_empty() {
            self.roff.text(std::mem::take(&mut self.line));
        }
    }
}
