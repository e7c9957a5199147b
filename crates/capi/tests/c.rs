//! C programs that use the library, each run as it is, under valgrind, and built with AddressSanitizer.
//!
//! `c/exercise.c` calls all functions; its answers are those of the C library 1.0.8, which was asked the same
//! (`c/exercise.expected`) and, where it is there, is asked again. `c/misuse.c` does what must not be done,
//! `c/ostree.c` what ostree does, `c/verity.c` asks for fs-verity.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcomposefs_testkit::program::{Outcome, Program};
use libcomposefs_testkit::{privilege, skip, stats};
use libtest_mimic::{Arguments, Trial};

/// The tools that a C program needs beside the compiler.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Valgrind,
    Sanitizer,
}

const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

fn main() {
    let arguments = Arguments::from_args();
    let no_compiler = (!has("cc")).then_some("there is no C compiler");
    let no_valgrind = no_compiler.or((!has("valgrind")).then_some("valgrind is not installed"));
    let no_sanitizer = no_compiler.or((!has_sanitizer()).then_some("the compiler has no AddressSanitizer"));
    let mut trials = Vec::new();
    for (name, run) in [("exercise", exercise as fn(Way)), ("misuse", misuse), ("ostree", ostree), ("verity", verity)] {
        for (suffix, way, unmet) in [
            ("", Way::Plain, no_compiler),
            ("_under_valgrind", Way::Valgrind, no_valgrind),
            ("_with_address_sanitizer", Way::Sanitizer, no_sanitizer),
        ] {
            trials.push(skip::trial(&format!("{name}{suffix}"), unmet, move || {
                run(way);
                Ok(())
            }));
        }
    }
    let no_reference = no_compiler.or(reference().is_none().then_some("COMPOSEFS_PEERS does not name the C library"));
    trials.push(trial("the_reference_answers_the_same", no_reference, the_reference_answers_the_same));
    let no_mounts = no_compiler.or((!privilege::is_root()).then_some("mounting needs root"));
    trials.push(trial("a_deployment_is_mounted", no_mounts, a_deployment_is_mounted));
    trials.push(trial("a_verified_mount", no_mounts, a_verified_mount));
    trials.push(trial("headers_are_c_and_cxx", no_compiler, headers_are_c_and_cxx));
    trials.push(trial("what_is_exported", None, what_is_exported));
    libtest_mimic::run(&arguments, trials).exit();
}

fn trial(name: &str, unmet: Option<&str>, run: fn()) -> Trial {
    skip::trial(name, unmet, move || {
        run();
        Ok(())
    })
}

fn has(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// It has a library of its own, which not every compiler brings.
fn has_sanitizer() -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (source, program) = (dir.path().join("empty.c"), dir.path().join("empty"));
    std::fs::write(&source, "int main(void) { return 0; }").unwrap();
    let built = Command::new("cc").args(SANITIZERS).arg(source).arg("-o").arg(program).output();
    built.is_ok_and(|built| built.status.success())
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name)
}

/// The library as Cargo built it for this test: beside the directory of the test program.
fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.parent().unwrap().join("libcomposefs.so");
    assert!(library.exists(), "{} is not there", library.display());
    library
}

/// A directory with the library under the name by which programs look for it, a built program, and a directory for its
/// files.
struct Built {
    dir: tempfile::TempDir,
    program: PathBuf,
    way: Way,
}

fn build(name: &str, way: Way) -> Built {
    let dir = tempfile::tempdir().unwrap();
    for link in ["libcomposefs.so", "libcomposefs.so.1"] {
        symlink(library(), dir.path().join(link)).unwrap();
    }
    let program = dir.path().join(name);
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-O1", "-pthread"]);
    if way == Way::Sanitizer {
        cc.args(SANITIZERS);
    }
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    cc.arg("-I").arg(include).arg("-o").arg(&program).arg(source(&format!("{name}.c")));
    cc.arg("-L").arg(dir.path()).arg("-lcomposefs");
    let built = cc.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    std::fs::create_dir(dir.path().join("files")).unwrap();
    Built { dir, program, way }
}

impl Built {
    fn run(&self) -> Outcome {
        let libraries = format!("LD_LIBRARY_PATH={}", self.dir.path().display());
        let mut words = vec![OsStr::new(&libraries)];
        if self.way == Way::Valgrind {
            words.extend(["valgrind", "-q", "--error-exitcode=99", "--leak-check=full"].map(OsStr::new));
            words.extend(["--errors-for-leak-kinds=all", "--show-leak-kinds=all"].map(OsStr::new));
        }
        let files = self.dir.path().join("files");
        words.extend([self.program.as_os_str(), files.as_os_str()]);
        if self.way == Way::Valgrind && self.program.ends_with("misuse") {
            words.push(OsStr::new("quick"));
        }
        Program { path: Path::new("/usr/bin/env"), name: "env" }.run(words, b"").ok()
    }
}

fn exercise(way: Way) {
    let outcome = build("exercise", way).run();
    let expected = std::fs::read(source("exercise.expected")).unwrap();
    assert_same(&String::from_utf8_lossy(&outcome.stdout), &String::from_utf8_lossy(&expected));
}

/// The lines that differ are more telling than two texts of four hundred.
fn assert_same(found: &str, expected: &str) {
    let differing: Vec<_> = found.lines().zip(expected.lines()).filter(|(found, expected)| found != expected).collect();
    assert!(differing.is_empty(), "{differing:#?}");
    assert_eq!(found.lines().count(), expected.lines().count());
}

fn misuse(way: Way) {
    let outcome = build("misuse", way).run();
    if way == Way::Plain {
        stats::show(&format!("misuse of the C interface: {}", outcome.line().replace('\n', ", ")));
    }
}

fn ostree(way: Way) {
    // The digest that the C library gives.
    assert_eq!(build("ostree", way).run().line(), "867a05bbffef3f4dd6f598a4ca2715af86b92680c863d43f61a94696e57dcca7");
}

fn verity(way: Way) {
    let line = build("verity", way).run().line().to_owned();
    assert!(["fs-verity: yes", "fs-verity: no"].contains(&line.as_str()), "{line}");
}

fn a_deployment_is_mounted() {
    run_mounting("ostree");
}

/// Without fs-verity the test checks the error; the same program runs in a guest (`xtask/src/e2e/ostree`).
fn a_verified_mount() {
    run_mounting("verity");
}

fn run_mounting(name: &str) {
    let built = build(name, Way::Plain);
    let libraries = format!("LD_LIBRARY_PATH={}", built.dir.path().display());
    let files = built.dir.path().join("files");
    let words = ["--mount", "--propagation", "private", "env", &libraries].map(OsStr::new);
    let words = words.into_iter().chain([built.program.as_os_str(), files.as_os_str(), OsStr::new("mount")]);
    let _ = Program { path: Path::new("/usr/bin/unshare"), name: "unshare" }.run(words, b"").ok();
}

/// The directory of the C library and its loader.
fn reference() -> Option<PathBuf> {
    let peers = PathBuf::from(std::env::var_os("COMPOSEFS_PEERS")?);
    let libraries = peers.parent()?.join("root/usr/lib/x86_64-linux-gnu");
    libraries.join("libcomposefs.so.1").exists().then_some(libraries)
}

fn the_reference_answers_the_same() {
    let built = build("exercise", Way::Plain);
    let libraries = reference().unwrap();
    let loader = libraries.join("ld-linux-x86-64.so.2");
    let files = built.dir.path().join("files");
    let words = [OsStr::new("--library-path"), libraries.as_os_str(), built.program.as_os_str(), files.as_os_str()];
    let theirs = Program { path: &loader, name: "exercise" }.run(words, b"").ok();
    let expected = std::fs::read(source("exercise.expected")).unwrap();
    assert_same(&String::from_utf8_lossy(&theirs.stdout), &String::from_utf8_lossy(&expected));
}

fn headers_are_c_and_cxx() {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    for (compiler, language) in [("cc", "c"), ("c++", "c++")] {
        if !has(compiler) {
            continue;
        }
        for header in ["lcfs-writer.h", "lcfs-mount.h", "lcfs-erofs.h"] {
            let mut cc = Command::new(compiler);
            cc.args(["-x", language, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I"]).arg(&include);
            let output = cc.arg(include.join("libcomposefs").join(header)).output().unwrap();
            assert!(output.status.success(), "{header}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// The 62 functions that the headers declare and nothing else, under the name that programs ask for.
fn what_is_exported() {
    let bytes = std::fs::read(library()).unwrap();
    let names: std::collections::BTreeSet<_> =
        declared("lcfs-writer.h").into_iter().chain(declared("lcfs-mount.h")).collect();
    assert_eq!(names.len(), 62, "{names:?}");
    for name in names {
        let name = [b"\0", name.as_bytes(), b"\0"].concat();
        assert!(bytes.windows(name.len()).any(|window| window == name), "{}", String::from_utf8_lossy(&name));
    }
    assert!(bytes.windows(17).any(|window| window == b"libcomposefs.so.1"));
    if has("nm") {
        let exported = Command::new("nm").args(["-D", "--defined-only"]).arg(library()).output().unwrap();
        let exported = String::from_utf8(exported.stdout).unwrap();
        assert_eq!(exported.lines().count(), 62, "{exported}");
        assert!(exported.lines().all(|line| line.contains(" T lcfs_")), "{exported}");
    }
}

/// The functions that a header declares to be the library's.
fn declared(header: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/libcomposefs").join(header);
    let text = std::fs::read_to_string(path).unwrap();
    let declared = text.lines().filter(|line| line.starts_with("LCFS_EXTERN"));
    let name = |line: &str| {
        Some(line[line.find("lcfs_")?..].split('(').next()?.trim_start_matches("lcfs_node_s *").to_owned())
    };
    declared.filter_map(name).collect()
}
