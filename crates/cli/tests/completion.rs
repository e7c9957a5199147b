//! What bash offers after TAB, in bash itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use composefs_testkit::program::Program;

const COMPOSEFS: &str = env!("CARGO_BIN_EXE_composefs");

fn composefs(arguments: &[&str]) -> String {
    Program { path: Path::new(COMPOSEFS), name: "composefs" }.run(arguments, b"").ok().line().to_owned()
}

/// The words offered for the last one of a line.
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

#[test]
fn commands_refs_and_digests_are_offered() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("repo").to_str().unwrap().to_owned();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    composefs(&["--repo", &repo, "init", "--insecure"]);
    let digest = composefs(&["--repo", &repo, "create", tree.to_str().unwrap(), "--name", "debian/13"]);
    composefs(&["--repo", &repo, "tag", "debian/13", "current"]);

    assert_eq!(offered("composefs unt"), ["untag"]);
    let all = offered(&format!("composefs --repo {repo} untag "));
    assert_eq!(all[..2], ["current", "debian/13"], "{all:?}");
    assert!(all[2..].iter().all(|word| word.starts_with("--")), "{all:?}");
    assert_eq!(offered(&format!("composefs --repo {repo} tag deb")), ["debian/13"]);
    assert_eq!(offered(&format!("composefs --repo {repo} tag {}", &digest[..5])), [digest.as_str()]);
    assert_eq!(offered(&format!("composefs untag --repo {repo} cur")), ["current"]);
    let elsewhere = offered(&format!("composefs --repo {}/none untag cur", dir.path().display()));
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}
