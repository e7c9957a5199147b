//! The order of writes, syncs and links, traced with strace.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use libcomposefs_testkit::skip;
use tempfile::tempdir;

/// Returns the system calls of a process that fills a store, as far as they write, sync or name files, in the order
/// in which they ended.
fn trace(name: &str, source: &Path, store: &Path) -> Option<Vec<String>> {
    let log = source.with_extension("strace");
    let calls = "trace=pwrite64,write,copy_file_range,ioctl,fsync,fdatasync,syncfs,linkat,rename,renameat,renameat2,\
                 mkdir,mkdirat,exit_group";
    let (program, arguments, (key, value)) = support::fill_command(source, store);
    let run = Command::new("strace")
        .args(["-f", "-y", "-e", calls, "-o"])
        .arg(&log)
        .arg(program)
        .args(arguments)
        .env(key, value)
        .output();
    match run {
        Ok(output) if output.status.success() => {}
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("ptrace") => {
            skip::announce(name, "strace may not trace here");
            return None;
        }
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            skip::announce(name, &format!("strace: {error}"));
            return None;
        }
    }
    let text = fs::read_to_string(log).unwrap();
    // Without the thread's number. An interrupted call counts where it ends.
    let calls = text.lines().filter_map(|l| l.split_once(' ')).map(|(_, call)| call.trim().to_owned());
    Some(calls.filter(|c| !c.contains("<unfinished")).collect())
}

fn is(call: &str, names: &[&str]) -> bool {
    names.iter().any(|n| call.starts_with(&format!("{n}(")) || call.starts_with(&format!("<... {n} resumed")))
}

/// Asserts that every content is synced between its last write and its link, and the names after the last link.
fn assert_order(calls: &[String], few: bool) {
    const SYNC: &[&str] = &["fsync", "fdatasync", "syncfs"];
    let position = |names: &[&str]| calls.iter().position(|c| is(c, names));
    let last = |names: &[&str]| calls.iter().rposition(|c| is(c, names));
    let first_link = position(&["linkat"]).expect("nothing was linked");
    let last_link = last(&["linkat"]).unwrap();
    let written = calls.iter().rposition(|c| is(c, &["pwrite64", "copy_file_range"])).expect("nothing was written");
    assert!(written < first_link, "one commit: all is written before the first link");
    let synced = calls[written..first_link].iter().filter(|c| is(c, SYNC)).count();
    let links = calls.iter().filter(|c| is(c, &["linkat"])).count();
    if few {
        assert!(synced >= links, "{synced} contents synced for {links} links:\n{}", calls.join("\n"));
    } else {
        assert!(calls[written..first_link].iter().any(|c| is(c, &["syncfs"])), "no sync before the links");
    }
    let after: Vec<_> = calls[last_link..].iter().filter(|c| is(c, SYNC)).collect();
    assert!(!after.is_empty(), "no sync after the last link:\n{}", calls.join("\n"));
    if few {
        // The directory of each object, and the store itself, where they may be new.
        assert!(after.len() > 1, "{after:?}");
    }
    assert!(last(SYNC) > last(&["mkdir", "mkdirat"]), "a directory was made and not synced");
}

#[test]
fn fills_a_store_when_asked() {
    support::fill_if_asked();
}

#[test]
fn contents_are_synced_before_their_names_and_names_before_the_end() {
    for count in [3, 50] {
        let dir = tempdir().unwrap();
        let (source, store) = (dir.path().join("source"), dir.path().join("new/store"));
        fs::create_dir(&source).unwrap();
        for i in 0..count {
            fs::write(source.join(format!("{i}")), format!("{i} {}", "x".repeat(100))).unwrap();
        }
        let test = "contents_are_synced_before_their_names_and_names_before_the_end";
        let Some(calls) = trace(test, &source, &store) else { return };
        assert_order(&calls, count == 3);
        // The store and its parent were created, and each was synced into its parent.
        let made = calls.iter().take_while(|c| !is(c, &["pwrite64"])).filter(|c| is(c, &["fsync"])).count();
        assert_eq!(made, 2, "{}", calls.join("\n"));

        // No new objects: existing ones may be another process's, so they are synced too.
        let Some(calls) = trace(test, &source, &store) else { return };
        assert!(!calls.iter().any(|c| is(c, &["linkat", "pwrite64"])));
        assert!(calls.iter().any(|c| is(c, &["fsync", "syncfs"])), "{}", calls.join("\n"));
    }
}
