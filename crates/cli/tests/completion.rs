//! Completion with TAB in bash, on a terminal.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use libcomposefs_testkit::program::Program;
use libcomposefs_testkit::terminal::Pseudoterminal;

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

fn composefs(arguments: &[&str]) -> String {
    Program { path: Path::new(COMPOSEFS), name: "composefs" }.run(arguments, b"").ok().line().to_owned()
}

/// Returns the words offered for the last word of a line.
fn offered(line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let script = format!(
        "PATH={}:$PATH; source <(composefs completion bash) || exit 1\n\
         COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}\n\
         complete -p composefs > /dev/null || exit 1\n\
         function=$(complete -p composefs | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
         $function composefs \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        Path::new(COMPOSEFS).parent().unwrap().display(),
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1,
    );
    let output = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

/// Returns the arguments of `composefs` lines after they were typed in bash, with a TAB for each `^`.
fn typed(lines: &[&str]) -> Vec<Vec<String>> {
    let Pseudoterminal { mut controller, terminal } = Pseudoterminal::open().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let said = dir.path().join("said");
    // The shell function replaces the program when a line is run, but not when words are completed.
    let mut input = format!(
        "PATH={}:$PATH; source <(composefs completion bash)\n\
         composefs() {{ printf '%s\\037' \"$@\"; echo; }} >> {}\n",
        Path::new(COMPOSEFS).parent().unwrap().display(),
        said.display(),
    );
    lines.iter().for_each(|line| input.push_str(&format!("composefs {}\n", line.replace('^', "\t"))));
    input.push_str("exit\n");
    let mut bash = Command::new("bash")
        .args(["--norc", "--noprofile", "-i"])
        .env("TERM", "dumb")
        .env("INPUTRC", "/dev/null")
        .stdin(Stdio::from(terminal.try_clone().unwrap()))
        .stdout(Stdio::from(terminal.try_clone().unwrap()))
        .stderr(Stdio::from(terminal))
        .spawn()
        .unwrap();
    let mut writer = controller.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut shown = Vec::new();
        let _ = controller.read_to_end(&mut shown);
        String::from_utf8_lossy(&shown).into_owned()
    });
    writer.write_all(input.as_bytes()).unwrap();
    bash.wait().unwrap();
    let shown = reader.join().unwrap();
    let said = fs::read_to_string(&said).unwrap_or_else(|error| panic!("{error}: {shown}"));
    let words = |line: &str| line.split_terminator('\u{1f}').map(str::to_owned).collect();
    said.lines().map(words).collect()
}

/// Creates a repository with the names `debian/13`, `current`, `sha256:abc` and `sha256:other`; returns the digest of
/// its image.
fn repository(dir: &Path) -> (String, String) {
    let repo = dir.join("repo").to_str().unwrap().to_owned();
    let tree = dir.join("tree");
    fs::create_dir(&tree).unwrap();
    composefs(&["--repo", &repo, "init", "--insecure"]);
    let digest = composefs(&["--repo", &repo, "create", tree.to_str().unwrap(), "--name", "debian/13"]);
    for name in ["current", "sha256:abc", "sha256:other"] {
        composefs(&["--repo", &repo, "tag", "debian/13", name]);
    }
    (repo, digest)
}

#[test]
fn commands_refs_and_digests_are_offered() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, digest) = repository(dir.path());
    assert_eq!(offered("composefs unt"), ["untag"]);
    let all = offered(&format!("composefs --repo {repo} untag "));
    assert_eq!(all[..4], ["current", "debian/13", "sha256:abc", "sha256:other"], "{all:?}");
    assert!(all[4..].iter().all(|word| word.starts_with("--")), "{all:?}");
    assert_eq!(offered(&format!("composefs --repo {repo} tag deb")), ["debian/13"]);
    assert_eq!(offered(&format!("composefs --repo {repo} tag {}", &digest[..5])), [digest.as_str()]);
    assert_eq!(offered(&format!("composefs untag --repo {repo} cur")), ["current"]);
    let elsewhere = offered(&format!("composefs --repo {}/none untag cur", dir.path().display()));
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn names_of_oci_images_are_offered() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, _) = repository(dir.path());
    let layout = libcomposefs_testkit::oci::unpack_layout("three-layers", dir.path());
    let source = format!("oci:{}", layout.display());
    for name in ["docker.io/library/three:1", "current"] {
        composefs(&["--repo", &repo, "oci", "pull", &source, "--name", name, "--json"]);
    }
    // A name of both kinds is offered once.
    assert_eq!(offered(&format!("composefs --repo {repo} mount cur")), ["current"]);
    assert_eq!(offered(&format!("composefs --repo {repo} tag doc")), ["docker.io/library/three:1"]);
    assert_eq!(offered(&format!("composefs --repo {repo} ls doc")), ["docker.io/library/three:1"]);
    assert_eq!(offered(&format!("composefs --repo {repo} oci inspect doc")), ["docker.io/library/three:1"]);
    assert_eq!(offered(&format!("composefs --repo {repo} oci untag cur")), ["current"]);
    for command in ["oci push", "oci export", "why"] {
        assert_eq!(
            offered(&format!("composefs --repo {repo} {command} doc")),
            ["docker.io/library/three:1"],
            "{command}"
        );
    }
    let other = dir.path().join("other").to_str().unwrap().to_owned();
    composefs(&["--repo", &other, "init", "--insecure"]);
    let sync = |from: &str, to: &str| offered(&format!("composefs --repo {to} sync {from} --oci doc"));
    assert_eq!(sync(&repo, &other), ["docker.io/library/three:1"]);
    assert!(sync(&other, &repo).is_empty());
    assert!(offered(&format!("composefs --repo {repo} oci inspect deb")).is_empty());
    // Sources, and what follows their first part.
    let sources = ["docker://", "docker-archive:"];
    assert_eq!(offered(&format!("composefs --repo {repo} oci pull doc")), sources);
    let with_names = offered(&format!("composefs --repo {repo} oci digest doc"));
    assert_eq!(with_names, [&["docker.io/library/three:1"][..], &sources].concat());
    let begun = &source[..source.len() - 2];
    for command in ["oci pull", "oci digest", "ls", "oci export x"] {
        let found = offered(&format!("composefs --repo {repo} {command} {begun}"));
        assert_eq!(found.len(), 1, "{command}: {found:?}");
        assert_eq!(format!("{begun}{}", &found[0][begun.len()..]).trim_end_matches('/'), source, "{command}");
    }
    assert_eq!(offered(&format!("composefs --repo {repo} oci export x oci")), ["oci:", "oci-archive:"]);
    assert_eq!(offered(&format!("composefs --repo {repo} oci push x ")).first().map(String::as_str), Some("docker://"));
    // A ref is not removed by the name of an OCI image.
    assert!(offered(&format!("composefs --repo {repo} untag doc")).is_empty());
}

#[test]
fn words_with_equals_signs_and_colons_are_completed() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, _) = repository(dir.path());
    let of = format!("--repo={repo}");
    let lines = [
        (format!("{of} unt^ cur^ end"), vec![of.as_str(), "untag", "current", "end"]),
        (format!("--repo {repo} untag cur^ end"), vec!["--repo", &repo, "untag", "current", "end"]),
        (format!("untag {of} sha256:a^ end"), vec!["untag", &of, "sha256:abc", "end"]),
        (format!("untag {of} sha^a^ end"), vec!["untag", &of, "sha256:abc", "end"]),
        (format!("{of} create . --name=deb^ end"), vec![&of, "create", ".", "--name=debian/13", "end"]),
        (format!("{of} create . --name=sha256:o^ end"), vec![&of, "create", ".", "--name=sha256:other", "end"]),
        (format!("--repo={}^ end", &repo[..repo.len() - 1]), vec!["--repo=", "end"]),
    ];
    let got = typed(&lines.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>());
    assert_eq!(got.len(), lines.len(), "{got:?}");
    for ((line, expected), got) in lines.iter().zip(&got) {
        let got: Vec<_> = got.iter().map(String::as_str).collect();
        if line.starts_with("--repo=") && line.ends_with("^ end") && expected.len() == 2 {
            // Either bash or the program completes a directory, with or without a slash.
            assert_eq!(got[0].trim_end_matches('/'), of, "{line}");
            continue;
        }
        assert_eq!(&got, expected, "{line}");
    }
}
