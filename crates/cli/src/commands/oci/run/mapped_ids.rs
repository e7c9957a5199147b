//! The IDs of the user namespace of this process.

use std::fs;

use anyhow::{Context as _, ensure};
use libcomposefs_oci::runtime::{ContainerUser, MappedIds};
use libcomposefs_sys::user_namespace::is_in_one;

/// Returns the numbers of IDs that are mapped from 0 on; `None` in the user namespace of the host.
pub(super) fn mapped_ids() -> anyhow::Result<Option<MappedIds>> {
    if is_in_one() == Some(false) {
        return Ok(None);
    }
    let of = |path: &str| {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        anyhow::Ok(mapped_from_0(&text))
    };
    let (uids, gids) = (of("/proc/self/uid_map")?, of("/proc/self/gid_map")?);
    Ok(Some(MappedIds { uids, gids }))
}

/// Returns the number of IDs from 0 on without a gap, by the lines `FIRST OUTSIDE NUMBER` of a map.
fn mapped_from_0(map: &str) -> u32 {
    let mut ranges: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            Some((words.next()?.parse().ok()?, words.nth(1)?.parse().ok()?))
        })
        .collect();
    ranges.sort_unstable();
    let end = ranges.into_iter().fold(0, |end, (first, number)| if first == end { end + number } else { end });
    u32::try_from(end).unwrap_or(u32::MAX)
}

/// Refuses a user of an image whose IDs do not exist in the user namespace.
pub(super) fn check_user(user: &ContainerUser, mapped: Option<MappedIds>) -> anyhow::Result<()> {
    let Some(MappedIds { uids, gids }) = mapped else { return Ok(()) };
    let remedy = "add a line for yourself to /etc/subuid and /etc/subgid, and install newuidmap (package uidmap)";
    ensure!(user.uid < uids, "the image's user {} does not exist in the user namespace: {remedy}", user.uid);
    let groups = std::iter::once(&user.gid).chain(&user.additional_gids);
    for group in groups {
        ensure!(*group < gids, "the image's group {group} does not exist in the user namespace: {remedy}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_up_to_the_first_gap() {
        for (map, number) in [
            ("         0          0 4294967295\n", u32::MAX),
            ("0 1000 1\n", 1),
            ("0 1000 1\n1 100000 65536\n", 65_537),
            ("1 100000 65536\n0 1000 1\n", 65_537),
            ("0 1000 1\n2 100000 65536\n", 1),
            ("5 1000 1\n", 0),
            ("", 0),
            ("0 0 99999999999\n", u32::MAX),
        ] {
            assert_eq!(mapped_from_0(map), number, "{map:?}");
        }
    }

    #[test]
    fn a_user_without_an_id_is_refused_with_the_remedy() {
        let user = |uid, gid, additional_gids: &[u32]| ContainerUser {
            uid,
            gid,
            additional_gids: additional_gids.to_vec(),
            home: String::new(),
        };
        let mapped = Some(MappedIds { uids: 1, gids: 2 });
        check_user(&user(0, 1, &[0]), mapped).unwrap();
        check_user(&user(1000, 1000, &[]), None).unwrap();
        for (user, words) in
            [(user(1, 0, &[]), "user 1 does"), (user(0, 2, &[]), "group 2 does"), (user(0, 0, &[27]), "group 27 does")]
        {
            let error = check_user(&user, mapped).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("/etc/subuid"), "{error}");
        }
    }
}
