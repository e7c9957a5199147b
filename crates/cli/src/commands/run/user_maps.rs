//! The user namespace of a user without privileges, and the ids that are mapped in it.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use libcomposefs_sys::command_namespaces::NewUserNamespace;
use rustix::process::{getegid, geteuid};

use crate::error_text::with_remedy;

/// Files and programs for ids of one kind.
struct IdKind {
    /// Lines `NAME:FIRST:NUMBER`: ids that a user may have besides its own.
    ranges: &'static str,
    /// Program that writes the map, as a user may not.
    program: &'static str,
    /// File of the map in `/proc/PID`.
    map: &'static str,
}

const UIDS: IdKind = IdKind { ranges: "/etc/subuid", program: "newuidmap", map: "uid_map" };
const GIDS: IdKind = IdKind { ranges: "/etc/subgid", program: "newgidmap", map: "gid_map" };

/// Moves the process into a new user namespace, in which it is root.
pub(crate) fn enter_user_namespace() -> anyhow::Result<()> {
    let namespace = NewUserNamespace::create().map_err(|error| {
        with_remedy(
            format_args!("cannot create a user namespace: {error}"),
            "`composefs doctor` says whether the system allows user namespaces",
        )
    })?;
    let holder = namespace.holder().as_raw_nonzero().get();
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let name = user_name(uid, &fs::read_to_string("/etc/passwd").unwrap_or_default());
    let users = [name.unwrap_or_default(), uid.to_string()];
    write_map(holder, &UIDS, &users, uid)?;
    write_map(holder, &GIDS, &users, gid)?;
    namespace.enter().context("cannot enter the new user namespace")
}

/// Maps the ids of the user, or its own alone.
fn write_map(holder: i32, kind: &IdKind, users: &[String], own: u32) -> anyhow::Result<()> {
    let ranges = fs::read_to_string(kind.ranges).unwrap_or_default();
    if let Some((first, number)) = range_of(users, &ranges) {
        let words = [holder.to_string(), "0".into(), own.to_string(), "1".into(), "1".into(), first, number];
        let done = Command::new(kind.program).args(words).stdin(Stdio::null()).output();
        match done {
            Ok(done) if done.status.success() => return Ok(()),
            Ok(done) => tell!(
                "composefs: {} failed, so that other owners are shown as the overflow id: {}",
                kind.program,
                String::from_utf8_lossy(&done.stderr).trim()
            ),
            // Not installed.
            Err(_) => {}
        }
    }
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{holder}/{file}");
        fs::write(&path, text).with_context(|| format!("cannot write {path}"))
    };
    if kind.map == GIDS.map {
        // The kernel demands this of a user who maps its own group.
        write("setgroups", "deny")?;
    }
    write(kind.map, &format!("0 {own} 1\n"))
}

/// Returns the first range of a user, as `FIRST` and `NUMBER`.
fn range_of(users: &[String], ranges: &str) -> Option<(String, String)> {
    ranges.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let (user, first, number) = (fields.next()?, fields.next()?, fields.next()?);
        let is_number = |text: &str| text.parse::<u32>().is_ok();
        let is_own = !user.is_empty() && users.iter().any(|name| name == user);
        (is_own && is_number(first) && is_number(number)).then(|| (first.to_owned(), number.to_owned()))
    })
}

/// Returns the name of a user by the text of `/etc/passwd`.
fn user_name(uid: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_user_is_found_by_name_or_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(user_name(1000, passwd).as_deref(), Some("ann"));
        assert_eq!(user_name(1, passwd), None);
        let users = ["ann".to_owned(), "1000".to_owned()];
        let range = |text: &str| range_of(&users, text).map(|(first, number)| format!("{first} {number}"));
        assert_eq!(range("bob:1:2\nann:100000:65536\nann:5:6\n").as_deref(), Some("100000 65536"));
        assert_eq!(range("1000:200000:65536").as_deref(), Some("200000 65536"));
        for none in ["", "bob:1:2", "ann:x:1", "ann:1", "ann:-1:5"] {
            assert_eq!(range(none), None, "{none}");
        }
        // A user without a name is not the one of an empty field.
        assert_eq!(range_of(&[String::new()], ":1:2"), None);
    }
}
