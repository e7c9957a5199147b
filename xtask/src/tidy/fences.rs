//! Checks that unsafe code, printing, the environment and file access are used only where they are allowed.

use std::path::{Path, PathBuf};

use super::Source;

/// Words that code outside some crates must not have.
struct Fence {
    words: &'static [&'static str],
    /// The crates inside the fence; all other directories below `crates/` are outside.
    inside: &'static [&'static str],
    why: &'static str,
}

const PROGRAMS: &[&str] = &["cli", "boot", "testkit", "vmtest"];

const FENCES: &[Fence] = &[
    Fence { words: &["unsafe"], inside: &["hash", "sys", "capi"], why: "unsafe code is for hash, sys and capi" },
    Fence {
        words: &["println!", "eprintln!", "print!", "eprint!", "process::exit", "std::env", "env::var", "env::args"],
        inside: PROGRAMS,
        why: "libraries never print, exit or read the environment",
    },
];
/// Words that only some files of the program may have: directories below `crates/cli/src`, or files without `.rs`.
const OUTPUT: &[Fence] = &[
    Fence {
        words: &[
            "println!",
            "eprintln!",
            "print!",
            "eprint!",
            "io::stdout",
            "io::stderr",
            "stdio::stdout",
            "stdio::stderr",
            "ProgressDrawTarget",
            "ProgressStyle",
        ],
        inside: &["output"],
        why: "`output` alone writes to the standard streams: out!, tell!, output::json, output::text",
    },
    Fence {
        words: &["to_writer", "to_writer_pretty", "to_string_pretty"],
        inside: &["json"],
        why: "`json` alone writes JSON, as it escapes what a terminal obeys: output::json",
    },
    Fence {
        words: &["output::data"],
        inside: &[
            "complete",
            "commands/cat",
            "commands/diff",
            "commands/info",
            "commands/mkcomposefs",
            "commands/oci/diff",
            "commands/ostree/image",
            "commands/remote/serve",
            "commands/repository/export",
            "inspect/names",
        ],
        why: "bytes as they are reach a terminal: out!, output::json or output::text escape them",
    },
];
/// A fence around one crate instead of around all others.
const FORMATS: (&str, &str) = ("image", "formats do no IO");
const FILE_ACCESS: &[&str] = &["std::fs", "fs::File"];

pub(super) fn check(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.is("rs")) {
        let Some(name) = crate_of(&source.path) else { continue };
        for (number, line) in shipped_code(&source.text) {
            for fence in FENCES.iter().filter(|fence| !fence.inside.contains(&name)) {
                if let Some(word) = fence.words.iter().find(|word| has_word(line, word)) {
                    problems.push(source.problem(number, format_args!("`{word}`: {}", fence.why)));
                }
            }
            let file = file_of_program(&source.path);
            for fence in OUTPUT.iter().filter(|fence| file.as_ref().is_some_and(|file| !fence.is_around(file))) {
                if let Some(word) = fence.words.iter().find(|word| has_word(line, word)) {
                    problems.push(source.problem(number, format_args!("`{word}`: {}", fence.why)));
                }
            }
            if let Some(word) = FILE_ACCESS.iter().find(|word| name == FORMATS.0 && has_word(line, word)) {
                problems.push(source.problem(number, format_args!("`{word}`: {}", FORMATS.1)));
            }
        }
    }
    problems
}

/// The directory of the crate below `crates/`, for its sources; its tests, examples and benches are not fenced.
fn crate_of(path: &Path) -> Option<&str> {
    let mut parts = path.components().map(|part| part.as_os_str().to_str().unwrap_or_default());
    let (crates, name, src) = (parts.next()?, parts.next()?, parts.next()?);
    let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
    (crates == "crates" && src == "src" && !is_test).then_some(name)
}

/// The path below `crates/cli/src` without `.rs`, of a file that has one.
fn file_of_program(path: &Path) -> Option<PathBuf> {
    Some(path.strip_prefix("crates/cli/src").ok()?.with_extension(""))
}

impl Fence {
    /// Reports whether a file is one of the places inside, or below one.
    fn is_around(&self, file: &Path) -> bool {
        self.inside.iter().any(|place| file.starts_with(place))
    }
}

/// The lines that are neither comments nor in the test module at the end of a file.
fn shipped_code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines.map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(part_of_name) && (word.ends_with('!') || !after.starts_with(part_of_name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> usize {
        check(&[Source { path: path.into(), text: text.into() }]).len()
    }

    #[test]
    fn fences_hold_where_they_stand() {
        assert_eq!(problems("crates/store/src/lib.rs", "unsafe { x() }\nprintln!();\nstd::env::var(\"A\")"), 3);
        assert_eq!(problems("crates/sys/src/lib.rs", "unsafe { x() }"), 0);
        assert_eq!(problems("crates/testkit/src/main.rs", "println!(); std::process::exit(1)"), 0);
        assert_eq!(problems("crates/image/src/a.rs", "use std::fs;\n"), 1);
        assert_eq!(problems("crates/store/src/a.rs", "use std::fs;\n"), 0);
    }

    #[test]
    fn one_module_writes_to_the_standard_streams() {
        for text in [
            "println!(\"x\")",
            "eprint!(\"x\")",
            "let out = std::io::stdout().lock();",
            "io::stderr()",
            "bar.set_draw_target(ProgressDrawTarget::stderr())",
            "serde_json::to_writer(out, &x)",
            "output::data().write_all(b)",
        ] {
            assert_eq!(problems("crates/cli/src/commands/repository/gc.rs", text), 1, "{text}");
        }
        for text in ["out!(\"x\")", "tell!(\"x\")", "output::json(&x)", "output::text()", "io::stdin()"] {
            assert_eq!(problems("crates/cli/src/commands/repository/gc.rs", text), 0, "{text}");
        }
        assert_eq!(problems("crates/cli/src/output/stderr.rs", "io::stderr()"), 0);
        assert_eq!(problems("crates/cli/src/output_other.rs", "io::stderr()"), 1);
        assert_eq!(problems("crates/cli/src/json.rs", "serde_json::to_writer(out, &x)"), 0);
        assert_eq!(problems("crates/cli/src/commands/cat.rs", "output::data()"), 0);
        assert_eq!(problems("crates/cli/src/commands/diff/mod.rs", "output::data()"), 0);
    }

    #[test]
    fn comments_tests_and_parts_of_names_are_not_code() {
        assert_eq!(problems("crates/store/src/a.rs", "// unsafe\n#![deny(unsafe_code)]\nmy_println!()\n"), 0);
        assert_eq!(problems("crates/store/src/a.rs", "#[cfg(test)]\nmod tests { fn a() { println!() } }\n"), 0);
        assert_eq!(problems("crates/store/tests/a.rs", "println!()"), 0);
    }
}
