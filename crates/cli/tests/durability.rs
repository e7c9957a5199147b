//! Checks by the log of system calls that no file is visible under its name before it is on disk, and that everything
//! is on disk when the command returns.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_testkit::skip;

const CALLS: &str = "trace=open,openat,openat2,write,writev,pwrite64,pwritev,pwritev2,copy_file_range,sendfile,splice,\
    ftruncate,fallocate,fchmod,fchown,ioctl,fsync,fdatasync,sync,syncfs,link,linkat,rename,renameat,\
    renameat2,mkdir,mkdirat";

/// A successful system call, with the lines of the log where it started and ended.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: Vec<String>,
    began: usize,
    ended: usize,
}

/// Parses the log of strace to calls, in the order in which they ended.
fn parse(log: &str) -> Vec<Call> {
    let mut unfinished: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let mut calls = Vec::new();
    for (number, line) in log.lines().enumerate() {
        let (thread, rest) = line.split_once(' ').expect("a thread in front");
        let rest = rest.trim_start();
        let (began, text) = if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, (number, begun.trim_end().to_owned()));
            continue;
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let (began, mut text) = unfinished.remove(thread).expect("it began");
            text.push_str(resumed.split_once(" resumed>").expect("what is resumed").1);
            (began, text)
        } else {
            (number, rest.to_owned())
        };
        let Some((name, text)) = text.split_once('(') else { continue };
        let (arguments, result) = split(text);
        let result = result.trim_start_matches([')', ' ']).trim_start_matches("= ");
        if result.starts_with(|first: char| first.is_ascii_digit()) {
            calls.push(Call { name: name.to_owned(), arguments, began, ended: number });
        }
    }
    calls
}

/// Splits the arguments of a call from the text after them.
fn split(text: &str) -> (Vec<String>, &str) {
    let (mut arguments, mut argument) = (Vec::new(), String::new());
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '<' | '{' | '[' | '(' => depth += 1,
            ')' if depth == 0 => {
                arguments.push(argument.trim().to_owned());
                return (arguments, &text[at..]);
            }
            '>' | '}' | ']' | ')' => depth -= 1,
            ',' if depth == 0 => {
                arguments.push(std::mem::take(&mut argument).trim().to_owned());
                continue;
            }
            _ => {}
        }
        argument.push(c);
    }
    panic!("no end: {text}");
}

/// Returns descriptor and path of an argument like `5</a/b>`.
fn descriptor(argument: &str) -> Option<(&str, PathBuf)> {
    let (number, path) = argument.split_once('<')?;
    Some((
        number,
        PathBuf::from(path.trim_end_matches("(deleted)").trim_end_matches('>').trim_end_matches(" (deleted)")),
    ))
}

/// A file that was given a name.
#[derive(Debug)]
struct Named {
    path: PathBuf,
    /// Path under which the file was written.
    file: PathBuf,
    began: usize,
    ended: usize,
}

#[derive(Debug)]
struct Sync {
    /// Path that was synced; `None` is the whole file system.
    path: Option<PathBuf>,
    began: usize,
    ended: usize,
}

/// Times at which files became durable.
#[derive(Debug, Default)]
struct History {
    /// Time of the last change of each file.
    changed: BTreeMap<PathBuf, usize>,
    syncs: Vec<Sync>,
    named: Vec<Named>,
    directories: Vec<(PathBuf, usize)>,
    /// Times of output on standard output.
    said: Option<usize>,
}

impl History {
    fn of(calls: &[Call]) -> Self {
        let mut history = Self::default();
        let mut descriptors: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut aliases: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
        for call in calls {
            let argument = |n: usize| call.arguments[n].as_str();
            let text = |n: usize| argument(n).trim_matches('"');
            let (began, ended) = (call.began, call.ended);
            for (number, path) in call.arguments.iter().filter_map(|argument| descriptor(argument)) {
                descriptors.insert(number.to_owned(), path);
            }
            // A name relative to a directory; the name of a descriptor in /proc denotes its file.
            let at = |directory: usize, name: usize| match text(name) {
                "" => descriptor(argument(directory)).expect("a path").1,
                magic if magic.starts_with("/proc/self/fd/") => descriptors[&magic["/proc/self/fd/".len()..]].clone(),
                name => descriptor(argument(directory)).map_or_else(PathBuf::new, |(_, path)| path).join(name),
            };
            let mut change = |n: usize| {
                let (number, path) = descriptor(argument(n)).expect("a path");
                if number == "1" {
                    history.said.get_or_insert(began);
                }
                history.changed.insert(path, ended);
            };
            let names = match call.name.as_str() {
                "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "sendfile" | "ftruncate" | "fallocate"
                | "fchmod" | "fchown" => {
                    change(0);
                    continue;
                }
                "copy_file_range" | "splice" => {
                    change(2);
                    continue;
                }
                "ioctl" => {
                    if argument(1).contains("CLONE") {
                        change(0);
                    }
                    continue;
                }
                "fsync" | "fdatasync" => {
                    let path = Some(descriptor(argument(0)).expect("a path").1);
                    history.syncs.push(Sync { path, began, ended });
                    continue;
                }
                "sync" | "syncfs" => {
                    history.syncs.push(Sync { path: None, began, ended });
                    continue;
                }
                "mkdir" => {
                    history.directories.push((PathBuf::from(text(0)), ended));
                    continue;
                }
                "mkdirat" => {
                    history.directories.push((at(0, 1), ended));
                    continue;
                }
                "link" | "rename" => (PathBuf::from(text(0)), PathBuf::from(text(1))),
                "linkat" | "renameat" | "renameat2" => (at(0, 1), at(2, 3)),
                _ => continue,
            };
            let (from, path) = names;
            let file = aliases.get(&from).unwrap_or(&from).clone();
            aliases.insert(path.clone(), file.clone());
            if !path.file_name().expect("a name").to_string_lossy().starts_with(".tmp") {
                history.named.push(Named { path, file, began, ended });
            }
        }
        history
    }

    /// Returns the end of the first sync of a path that started after one line and ended before another.
    fn synced(&self, path: &Path, after: usize, before: usize) -> Option<usize> {
        let covers = |sync: &&Sync| sync.path.as_deref().is_none_or(|synced| synced == path);
        let within = |sync: &&Sync| sync.began > after && sync.ended < before;
        self.syncs.iter().filter(covers).filter(within).map(|sync| sync.ended).min()
    }

    /// Asserts that each name was given after its content was synced, and before a sync of its directory; returns the
    /// end of the last of those syncs.
    fn check(&self, named: &[&Named]) -> usize {
        let mut last = 0;
        for Named { path, file, began, ended } in named {
            let name = path.display();
            let changed = *self.changed.get(file).unwrap_or_else(|| panic!("{name} was not seen being written"));
            assert!(changed < *began, "{name} was changed after it got its name");
            assert!(self.synced(file, changed, *began).is_some(), "{name} got its name before its content was synced");
            let directory = path.parent().expect("a directory");
            let synced = self.synced(directory, *ended, usize::MAX);
            last = last.max(synced.unwrap_or_else(|| panic!("{name} was named, but its directory not synced")));
        }
        last
    }
}

/// Creates a directory with a tree, and the program under the name by which it is called.
struct Scratch {
    dir: tempfile::TempDir,
    root: PathBuf,
}

impl Scratch {
    fn new(files: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir(root.join("tree")).unwrap();
        for n in 0..files {
            // Files that fit into memory, and files that do not.
            let len = if n % 50 == 1 { 3 << 20 } else { 100 + n * 700 };
            fs::write(root.join(format!("tree/{n}")), &format!("{n} ").repeat(len).as_bytes()[..len]).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_composefs"), root.join("mkcomposefs")).unwrap();
        Self { dir, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn objects(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.path("a/b/store")).unwrap().map(|entry| entry.unwrap().path());
        folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path())).collect()
    }

    /// Runs `mkcomposefs` and checks the rules for every run.
    fn trace(&self) -> Run {
        let log = self.path("log");
        let mut option = OsString::from("--digest-store=");
        option.push(self.path("a/b/store"));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-y", "-s0", "-e", "signal=none", "-e", CALLS, "-o"]).arg(&log);
        strace.arg(self.path("mkcomposefs")).arg("--print-digest").arg(option);
        let output = strace.arg(self.path("tree")).arg(self.path("image")).output().expect("strace");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let history = History::of(&parse(&fs::read_to_string(&log).unwrap()));
        let (objects, others): (Vec<_>, Vec<_>) =
            history.named.iter().partition(|named| named.path.starts_with(self.path("a/b/store")));
        let [image] = others[..] else { panic!("other names: {others:?}") };
        assert_eq!(image.path, self.path("image"));
        let stored = history.check(&objects);
        assert!(stored < image.began, "the image got its name before its objects were durable");
        let published = history.check(&[image]);
        assert!(history.said.is_some_and(|said| said > published), "the digest was told before the image was durable");
        for (directory, made) in &history.directories {
            let synced = history.synced(directory.parent().expect("a parent"), *made, image.began);
            assert!(synced.is_some(), "{} was made, but its parent not synced", directory.display());
        }
        // Another process may have stored existing objects without syncing them yet.
        let mut found = 0;
        for object in self.objects().iter().filter(|object| !objects.iter().any(|named| named.path == **object)) {
            for path in [object, object.parent().expect("a parent")] {
                let synced = history.synced(path, 0, image.began);
                assert!(synced.is_some(), "{} was relied on, but {} not synced", object.display(), path.display());
            }
            found += 1;
        }
        let everything = history.syncs.iter().filter(|sync| sync.path.is_none()).count();
        Run { new: objects.len(), found, directories: history.directories.len(), everything }
    }
}

/// System calls of a run.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    new: usize,
    found: usize,
    directories: usize,
    /// Number of times the whole file system was synced.
    everything: usize,
}

/// Returns true if strace works on this machine.
fn traceable(test: &str) -> bool {
    let works = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output();
    let works = works.is_ok_and(|output| output.status.success());
    if !works {
        skip::announce(test, "strace is not there, or may not trace");
    }
    works
}

#[test]
fn few_files_are_synced_one_by_one() {
    if !traceable("few_files_are_synced_one_by_one") {
        return;
    }
    let scratch = Scratch::new(5);
    let run = scratch.trace();
    assert_eq!((run.new, run.found, run.everything), (5, 0, 0));
    assert!(run.directories >= 3, "{run:?}");
    // Again, with an image to replace and objects that exist.
    assert_eq!(scratch.trace(), Run { new: 0, found: 5, directories: 0, everything: 0 });
    // Again, with an object to repair.
    let damaged = &scratch.objects()[0];
    fs::remove_file(damaged).unwrap();
    fs::write(damaged, "damaged").unwrap();
    assert_eq!(scratch.trace(), Run { new: 1, found: 4, directories: 0, everything: 0 });
    drop(scratch.dir);
}

#[test]
fn many_files_are_synced_together() {
    if !traceable("many_files_are_synced_together") {
        return;
    }
    let scratch = Scratch::new(120);
    let run = scratch.trace();
    assert_eq!((run.new, run.found), (120, 0));
    assert!((2..=4).contains(&run.everything), "{run:?}");
    let again = scratch.trace();
    assert_eq!((again.new, again.found), (0, 120));
    // New objects next to existing ones.
    for n in 0..20 {
        fs::write(scratch.path(&format!("tree/more{n}")), format!("more {n} ").repeat(1000)).unwrap();
    }
    let more = scratch.trace();
    assert_eq!((more.new, more.found), (20, 120));
    drop(scratch.dir);
}
