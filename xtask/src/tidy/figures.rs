//! Figures of the whole workspace: how documentation begins and how long it is, and type names with several meanings.
//!
//! `cargo xtask tidy --figures` prints them with every place.

use std::collections::BTreeMap;

use super::{Source, prose};

/// Words with which a documentation block begins that has a clause where a noun or a verb belongs.
const CLAUSES: &[&str] = &["what", "who", "whether", "how", "where", "why", "whose", "whom", "which"];
/// A block of so few words says too little on a page where it stands alone.
const SHORT: usize = 3;
/// Blocks, in thousandths of all, that may begin with a clause, and that may be short. They only sink.
const CLAUSES_LEFT: usize = 30;
const SHORT_LEFT: usize = 30;
/// Type names that may be defined more than once. It only sinks.
const NAMES_LEFT: usize = 29;
/// Names that every module may have for its own.
const FREE_NAMES: &[&str] = &["Error", "Options", "Args"];

/// The figures, with the places they were found at.
#[derive(Debug, Default)]
pub(super) struct Figures {
    blocks: usize,
    clauses: Vec<String>,
    short: Vec<String>,
    /// Each name with its definitions, if there are several.
    names: Vec<(String, Vec<String>)>,
}

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let figures = Figures::of(sources);
    let mut problems = Vec::new();
    let thousandths = |count: usize| count * 1000 / figures.blocks.max(1);
    for (what, found, left) in [
        ("begin with what, whether, how and the like", figures.clauses.len(), CLAUSES_LEFT),
        ("have three words or fewer", figures.short.len(), SHORT_LEFT),
    ] {
        if thousandths(found) > left {
            problems
                .push(format!("{found} of {} documentation blocks {what}: cargo xtask tidy --figures", figures.blocks));
        }
    }
    if figures.names.len() > NAMES_LEFT {
        let count = figures.names.len();
        problems.push(format!(
            "{count} type names are defined more than once, {NAMES_LEFT} may be: cargo xtask tidy --figures"
        ));
    }
    problems
}

impl Figures {
    /// Counts over all Rust files; type names without tests.
    pub(super) fn of(sources: &[Source]) -> Self {
        let mut figures = Self::default();
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for source in sources.iter().filter(|source| source.is("rs")) {
            for block in prose::doc_blocks(&source.text) {
                figures.blocks += 1;
                let place = || source.problem(block.line, &block.text);
                let first = block.text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_lowercase();
                if CLAUSES.contains(&first.as_str()) {
                    figures.clauses.push(place());
                }
                if words(&block.text) <= SHORT {
                    figures.short.push(place());
                }
            }
            for (number, name) in type_names(source) {
                names.entry(name.to_owned()).or_default().push(source.problem(number, name));
            }
        }
        let is_counted = |name: &str, places: &[String]| places.len() > 1 && !FREE_NAMES.contains(&name);
        figures.names = names.into_iter().filter(|(name, places)| is_counted(name, places)).collect();
        figures
    }

    /// Prints the places, then the totals.
    pub(super) fn print(&self) {
        let places = |title: &str, places: &[String]| places.iter().for_each(|place| println!("{title}: {place}"));
        places("clause", &self.clauses);
        places("short", &self.short);
        for (name, definitions) in &self.names {
            println!("{name}: defined {} times", definitions.len());
            places("  ", definitions);
        }
        let percent = |count: usize| count as f64 * 100.0 / self.blocks.max(1) as f64;
        let (clauses, short) = (self.clauses.len(), self.short.len());
        println!("{} documentation blocks", self.blocks);
        println!("{clauses} ({:.1} %) begin with what, whether, how and the like", percent(clauses));
        println!("{short} ({:.1} %) have three words or fewer", percent(short));
        println!("{} type names are defined more than once", self.names.len());
    }
}

/// Counts the words of a block; a path or a code span without blanks is one.
fn words(text: &str) -> usize {
    text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count()
}

/// The types that a file of `src` defines, without associated types and without the modules of tests.
fn type_names(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let path = source.path.to_string_lossy();
    let is_counted = path.contains("src/") && !path.starts_with("fuzz/") && !path.ends_with("/tests.rs");
    let lines = source.text.lines().enumerate().filter(move |_| is_counted);
    let lines = lines.take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines.filter_map(|(number, line)| Some((number, type_name(line)?)))
}

/// The name of the type that a line defines.
fn type_name(line: &str) -> Option<&str> {
    let is_indented = line.starts_with(' ');
    let mut rest = line.trim_start();
    if let Some(after) = rest.strip_prefix("pub") {
        rest = after.strip_prefix('(').map_or(after, |scope| scope.split_once(')').map_or(scope, |(_, after)| after));
        rest = rest.strip_prefix(' ')?;
    }
    let (keyword, rest) = rest.split_once(' ')?;
    let is_type = ["struct", "enum", "trait", "union"].contains(&keyword) || keyword == "type" && !is_indented;
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (is_type && name.starts_with(char::is_uppercase)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(files: &[(&str, &str)]) -> Figures {
        let source = |&(path, text): &(&str, &str)| Source { path: path.into(), text: text.into() };
        Figures::of(&files.iter().map(source).collect::<Vec<_>>())
    }

    #[test]
    fn clauses_and_short_blocks() {
        let text = "//! Reads the table of inodes.\n/// Its path.\nfn a() {}\n/// What the kernel reports of it.\n\
                    fn b() {}\n/// Whatever it is.\n";
        let figures = figures(&[("crates/image/src/a.rs", text)]);
        assert_eq!((figures.blocks, figures.clauses.len(), figures.short.len()), (4, 1, 2));
        assert!(figures.short[0].starts_with("crates/image/src/a.rs:2:"));
    }

    #[test]
    fn names_of_several_types() {
        let files = [
            ("crates/a/src/lib.rs", "pub struct Queue;\nstruct Error;\nimpl X for Y {\n    type Item = u8;\n}\n"),
            ("crates/b/src/lib.rs", "pub(crate) enum Queue {}\nenum Error {}\ntype Item = u8;\nstruct Own<T>(T);\n"),
            ("crates/b/tests/c.rs", "struct Own;\n"),
            ("crates/b/src/d.rs", "#[cfg(test)]\nmod tests {\n    struct Own;\n}\n"),
        ];
        let figures = figures(&files);
        assert_eq!(figures.names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["Queue"]);
        assert_eq!(figures.names[0].1.len(), 2);
    }
}
